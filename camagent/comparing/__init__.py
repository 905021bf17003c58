"""What a quantised model makes of pictures, beside the float model that it was made of: `camagent model compare`.

tally.py              what is added up, picture by picture
agreement.py          which objects the two have in common
average_precision.py  how well the one's objects stand for the other's, COCO's way
report.py             the result: JSON, warnings
terminal.py picture.py page.py   the result for people
"""
