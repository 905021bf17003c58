"""Why does it see nothing? A ladder of checks with a known answer, one assumption changed at a time, delivery included.

    report.py   values: Cause, StepReport, Report, and the JSON they become
    causes.py   every cause by id: its layer, what it is in words, what to ask for where a device cannot know
    meanings.py what each cause means, in one sentence
    ladder.py   the steps in order, the budget, the verdict
    case.py     what is under test: a model, its manifest, pictures with known answers
    words.py    a report in words; terminal.py and html.py show it, schema.py describes its JSON, exhibits.py draws its pictures

    examine.py  from a case to a report: start here
    explanation.py   golden pictures fail: numbers first, then search.py over axis_*.py, ranked by margin.py, named by naming.py

The other files are rungs of the ladder (rung_*.py) and what they measure with.
"""
