"""The Chinese catalogue: every code has its words, none is superfluous, and they are Chinese as it is written."""

from __future__ import annotations

import ast
import io
import re
import string
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
from rich.cells import cell_len
from rich.console import Console

from camagent import language
from camagent.cli.service_view import lines_of
from camagent.cli.steps_view import StepsView
from camagent.errors import CodedError, SourceError, StreamUnreachable
from camagent.language import ENGLISH, Catalogue, Entry, Tongue, chinese, chosen
from camagent.selftest import words
from camagent.selftest.causes import CAUSES
from camagent.selftest.html import page
from camagent.selftest.report import LAYERS
from camagent.selftest.terminal import render
from firmware_pkg.checklist import STEPS, Checklist
from signing.refusals import UntrustedSigner
from tests.support import reports
from tests.test_contracts import ROOT, imported, modules, relative
from tests.test_errors import NASTY

CODE = re.compile(r"[A-Z]+(_[A-Z0-9]+)*")
HAN = r"\u4e00-\u9fff"
SAY = {"say", "tongue.say", "self._tongue.say", "self.say"}  # the last: within the module itself
FULL = "，。：；？！（）、“”…"


def catalogue() -> Catalogue:
    found = chinese().catalogue
    assert found is not None
    return found


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    return tuple((relative(path), ast.parse(path.read_text("utf-8"))) for path in modules())


def nodes() -> Iterator[ast.AST]:
    for _, tree in trees():
        yield from ast.walk(tree)


def dotted(node: ast.AST) -> str:
    """`a.b.c`; names with commas between them of a tuple; nothing for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Tuple):
        return ", ".join(map(dotted, node.elts))
    return node.id if isinstance(node, ast.Name) else ""


def literals(node: ast.AST) -> Iterator[str]:
    """The strings of an expression that are codes."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and CODE.fullmatch(inner.value):
            yield inner.value


@cache
def codes() -> set[str]:
    """Every code that an error or warning can have: of a class, in an answer's dictionary, of a warning."""
    found: set[str] = set()
    for node in nodes():
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                targets = (
                    line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
                )
                if targets and re.search(r"\bcode\b", dotted(targets[0])) and isinstance(line, ast.Assign | ast.AnnAssign):
                    found |= set(literals(line.value)) if line.value else set()
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "code":
                    found |= set(literals(value))
        elif isinstance(node, ast.Call) and dotted(node.func) in {"warn", "telling.warn"}:
            found |= set(literals(node.args[0]))
    return found


def reasons() -> set[str]:
    """What docs/mqtt.md lists as a camera's reason, and as a failure's code."""
    text = (ROOT / "docs" / "mqtt.md").read_text("utf-8")
    before, after = text.split("\n## Failures\n")
    first = [line.split("|")[1] for line in before.split("\n## Reasons\n")[1].splitlines() if line.startswith("| `")]
    last = [line.rsplit("|", 2)[1] for line in after.splitlines() if line.startswith("|")]
    return {code for cell in (*first, *last) for code in re.findall(r"`([a-z-]+)`", cell)} - {"code", "reason"}


def entries() -> Iterator[tuple[str, Entry]]:
    for kind in ("errors", "causes", "reasons"):
        for code, entry in getattr(catalogue(), kind).items():
            yield f"{kind}.{code}", entry


def texts() -> Iterator[tuple[str, str]]:
    """Where it stands, and the text."""
    for place, entry in entries():
        yield from ((f"{place}.{part}", getattr(entry, part)) for part in ("means", "fix", "ask") if getattr(entry, part))
    for kind in ("rungs", "steps", "layers", "states", "sentences", "phrases"):
        yield from ((f"{kind}.{key}", text) for key, text in getattr(catalogue(), kind).items())


@cache
def said() -> set[str]:
    """Every sentence that `say` is given; a name stands for the constants that its module assigns to it."""
    found: set[str] = set()
    for file, tree in trees():
        if not any(name.startswith("camagent.language") for name in imported(ROOT / file)) and file != "camagent/language.py":
            continue
        named = {dotted(node.targets[0]): node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or dotted(node.func) not in SAY:
                continue
            given = node.args[0]
            sentence = named.get(ast.unparse(given), given) if isinstance(given, ast.Name) else given
            if ast.unparse(sentence) == "report.verdict":
                found |= {"healthy", "fault", "inconclusive"}
                continue
            assert isinstance(sentence, ast.Constant), f"{file}:{node.lineno}: say a sentence that can be read here"
            found.add(str(sentence.value))
    return found


def test_no_code_is_untranslated_and_none_is_superfluous() -> None:
    found = catalogue()
    derived = {code for code in codes() if code.lower().replace("_", "-") in CAUSES}
    assert {code for code in codes() if chinese().code(code) is None} == set()
    assert set(found.errors) - codes() == set()
    # these two are another thing than the cause of their name: a login that is refused too, a camera's certificate
    assert set(found.errors) & derived == {"MQTT_UNREACHABLE", "TLS_UNTRUSTED"}, "the cause says it already"


def test_no_cause_and_no_reason_is_untranslated_and_none_is_superfluous() -> None:
    assert list(catalogue().causes) == list(CAUSES)
    assert [cause for cause, entry in catalogue().causes.items() if bool(entry.ask) != bool(CAUSES[cause].ask)] == []
    assert len(reasons()) > 40
    assert set(catalogue().reasons) == reasons() - set(CAUSES)
    assert not [code for code, entry in catalogue().reasons.items() if entry.ask]


def test_every_rung_step_layer_and_state_has_its_name() -> None:
    assert list(catalogue().rungs) == list(words.RUNG_WORDS)
    assert tuple(catalogue().steps) == STEPS
    assert set(catalogue().layers) == set(LAYERS)
    assert set(catalogue().states) == {"pass", "warn", "fail", "skip"}


def test_what_is_said_is_translated_with_the_same_placeholders() -> None:
    assert set(catalogue().phrases) == said()
    for english, text in catalogue().phrases.items():
        names = [{name for _, name, _, _ in string.Formatter().parse(one) if name} for one in (english, text)]
        assert names[0] == names[1], english


def test_fixed_sentences_stand_in_the_code_as_they_are() -> None:
    there = {node.value for node in nodes() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(catalogue().sentences) - there == set()
    assert whys() - set(catalogue().sentences) == set()
    assert len(whys()) > 12


@cache
def whys() -> set[str]:
    """Why a step was left out, where that is a sentence as it stands; those with particulars stay in English."""
    given: list[ast.expr] = []
    for node in nodes():
        if isinstance(node, ast.Call) and dotted(node.func) in {"checklist.skipped", "Skipped"}:
            given.append(node.args[1])
        elif isinstance(node, ast.Call) and dotted(node.func) == "Outcome" and isinstance(node.args[1], ast.Dict):
            keys = (ast.unparse(key) if key else "" for key in node.args[1].keys)
            given += [value for key, value in zip(keys, node.args[1].values, strict=True) if key == "'why'"]
    given += [
        node.value
        for file, tree in trees()
        if file in {"camagent/selftest/run.py", "firmware_pkg/checklist.py"}
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) in {"why", "reached"}
    ]
    parts = [part for one in given for part in ((one.body, one.orelse) if isinstance(one, ast.IfExp) else (one,))]
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value}


@pytest.mark.parametrize(("place", "text"), list(texts()), ids=lambda value: value if re.match(r"[a-z]+\.", value) else "")
def test_it_is_chinese_as_it_is_written(place: str, text: str) -> None:
    assert re.search(f"[{HAN}]", text), "no Chinese in it"
    assert text.encode("gb2312"), "the encoding of the plain locale zh_CN has it"
    assert text == text.strip()
    assert not re.search(rf"[{HAN}{FULL}] ?[,;:?!()]|[,;:?!(][{HAN}]|[{HAN}]\.(?!\.)", text), (
        "half-width punctuation in Chinese"
    )
    assert not re.search(rf" [{FULL}]|[{FULL}] ", text), "full-width punctuation has its own space"
    assert not re.search(rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9][{HAN}]", text), "a space stands between Chinese and Latin letters"
    assert text.count("（") == text.count("）")
    if place.startswith(("errors.", "causes.", "reasons.")) and not place.endswith(".ask"):
        assert text.endswith("。")
        assert 1 <= text.count("。") <= 2
        assert len(text) <= 120


def test_meanings_differ_so_that_codes_do() -> None:
    means = [entry.means for place, entry in entries() if not place.startswith("reasons.")]
    assert len(means) == len(set(means))


@pytest.mark.parametrize(
    ("environ", "tag"),
    [
        ({}, "en"), ({"LANG": "C.UTF-8"}, "en"), ({"LANG": "de_DE.UTF-8"}, "en"), ({"LANG": "zh_CN.UTF-8"}, "zh-CN"),
        ({"LANG": "zh_CN"}, "zh-CN"), ({"LANG": "zh_SG.utf8@x"}, "zh-CN"), ({"LANG": "zh_TW.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"), ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh-CN"),
        ({"LANG": "C", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh-CN"), ({"LC_ALL": "C", "LC_MESSAGES": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_CTYPE": "C"}, "zh-CN"), ({"CAMAGENT_LANG": "zh", "LC_ALL": "C"}, "zh-CN"),
        ({"CAMAGENT_LANG": "zh-Hans-CN"}, "zh-CN"), ({"CAMAGENT_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"CAMAGENT_LANG": "", "LANG": "zh_CN.GB18030"}, "zh-CN"), ({"LANG": "zh"}, "zh-CN"), ({"LANG": "zhuang"}, "en"),
    ],
)  # fmt: skip
def test_the_first_variable_that_is_set_decides(environ: dict[str, str], tag: str) -> None:
    assert chosen(environ).tag == tag


@pytest.mark.parametrize(
    ("encoding", "tag"), [("utf-8", "zh-CN"), ("gb18030", "zh-CN"), ("gb2312", "zh-CN"), ("ascii", "en"), ("latin-1", "en")]
)
def test_a_stream_that_cannot_write_chinese_is_written_in_english(encoding: str, tag: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert language.of(stream, {"LANG": "zh_CN"}).tag == tag
    assert language.of(stream, {"LANG": "C"}) is ENGLISH


def test_no_stream_and_an_encoding_that_is_unknown_are_english() -> None:
    assert language.of(None, {"LANG": "zh_CN"}) is ENGLISH
    assert language.of(Console(file=io.StringIO()), {"LANG": "zh_CN"}).tag == "zh-CN"
    assert not language._can_write("no-such-encoding")


def test_an_error_keeps_its_english_lines_below_the_chinese_ones() -> None:
    refusal = UntrustedSigner("x.sig is by a stranger", evidence={"signed by": "a", "trusted": "b"}, fix="add the signer")
    assert ENGLISH.error(refusal) == refusal.render()
    first, fix, original, *rest = chinese().error(refusal).split("\n")
    assert first == f"error[UNTRUSTED_SIGNER]: {catalogue().errors['UNTRUSTED_SIGNER'].means}"
    assert fix == f"  处理：{catalogue().errors['UNTRUSTED_SIGNER'].fix}"
    assert original == "  原文：x.sig is by a stranger"
    assert rest == refusal.render().split("\n")[1:] == ["  evidence: signed by = a, trusted = b", "  fix: add the signer"]


def test_a_sources_code_is_told_as_the_cause_that_it_is() -> None:
    told = chinese().error(StreamUnreachable("no route", fix="mend it"))
    assert catalogue().causes["stream-unreachable"].means in told


def test_a_code_that_is_not_known_is_told_in_english() -> None:
    class Newer(CodedError):
        code = "OF_A_NEWER_CAMERA"

    error = Newer("something new", fix="update")
    assert chinese().error(error) == error.render()
    assert chinese().refused("OF_A_NEWER_CAMERA", "something new") == "OF_A_NEWER_CAMERA: something new"
    assert chinese().because("of-a-newer-camera", "it is") == "of-a-newer-camera: it is"


def test_warnings_have_the_form_of_errors() -> None:
    assert ENGLISH.warning("UNSIGNED", "x was not verified") == "warning[UNSIGNED]: x was not verified"
    assert ENGLISH.warning("PLAIN_HTTP", "a", "b") == "warning[PLAIN_HTTP]: a\n  fix: b"
    lines = chinese().warning("PLAIN_HTTP", "a", "b").split("\n")
    assert lines[0].startswith("warning[PLAIN_HTTP]: 令牌")
    assert lines[2:] == ["  原文：a", "  fix: b"]


@pytest.mark.parametrize("text", NASTY)
def test_foreign_text_is_tamed_in_every_language(text: str) -> None:
    for told in (
        chinese().error(SourceError(text, evidence={text: text}, fix=text)),
        chinese().warning("UNSIGNED", text, text),
        "".join(lines_of(health(text), chinese())),
        printed(reports.hostile(text), chinese()),
    ):
        assert all(char == "\n" or char.isprintable() for char in told)
        assert "\nerror[FAKE]" not in told
    assert "<script>alert" not in page(reports.hostile(text), tongue=chinese())


def health(text: str) -> dict[str, object]:
    camera = {"camera": text, "state": text, "reason": text, "detail": text, "fps": 1.0}
    return {"unit": None, "pid": 1, "agent": {"agent": {"mqtt": {"code": text, "detail": text}}, "cameras": [camera]}}


def printed(report: object, tongue: Tongue, encoding: str = "utf-8", width: int = 80) -> str:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, write_through=True) as file:
        render(report, Console(file=file, width=width), tongue)  # type: ignore[arg-type]
        return raw.getvalue().decode(encoding)


def test_a_reason_is_told_beside_its_id() -> None:
    camera = {"camera": "front", "state": "running", "reason": "dark", "detail": "brightness 3", "fps": 9.5}
    body = {"unit": None, "pid": 1, "agent": {"agent": {}, "cameras": [camera]}}
    assert "dark: brightness 3" in "\n".join(lines_of(body))
    assert "dark（画面已有 10 秒全黑" in "\n".join(lines_of(body, chinese()))


def test_the_report_is_chinese_and_its_measurements_are_as_they_were() -> None:
    odd = replace(reports.WEIGHTS, fix="look into runs/7", send=(CAUSES["wrong-or-untrained-weights"].ask, "a thing"))
    shown = printed(reports.faulty(reports.SWAPPED, odd), chinese())
    for part in (
        "自检：fastestdet-coco 1.0.0, 摄像机 front", "发现故障：channel-order-swapped，其后还有 1 个。", "(预处理 preprocess)",
        "画面送入模型之前，红色和蓝色通道互换了。", "或者      chroma-order-wrong",
        "as configured = best score 0.31, 0 of 4 objects",
        "处理      改用另一种 --color 重新构建模型包。", "改动      input.color: rgb -> bgr",
        "✓ 修复已验证", "原文      look into runs/7",
        "请提供    源模型在基准图片上的结果，以及训练日志", "a thing", "✗ source         STREAM_UNREACHABLE：摄像机拒绝连接",
        "+0.91", "开销：31 次推理，12.4 秒",
    ):  # fmt: skip
        assert part in shown
    assert shown.count("原文") == 1, "a general fix is not said twice"
    assert "Fault found" not in shown
    assert all(cell_len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("report", "told"),
    [(reports.healthy(), "正常：没有发现故障。"), (reports.undecided(), "但有些环节无法检查：source、delivery。"),
     (reports.undecided(reports.WEIGHTS), "无法断定：仅凭本设备无法判断"),
     (reports.faulty(reports.SWAPPED), "发现故障：channel-order-swapped。")],
)  # fmt: skip
def test_every_verdict_is_told(report: object, told: str) -> None:
    assert told in printed(report, chinese(), width=110)
    assert told in page(report, tongue=chinese())  # type: ignore[arg-type]


def test_the_page_says_its_language_and_leaves_no_heading_in_english() -> None:
    made = page(reports.faulty(replace(reports.SWAPPED, fix="a particular fix")), tongue=chinese())
    assert '<html lang="zh-CN">' in made
    assert '<p class="soft" lang="en">原文：a particular fix</p>' in made
    assert re.findall(r"<h2>[^<]*[A-Za-z][^<]*</h2>", made) == []
    assert catalogue().causes["stream-unreachable"].means in made, "the step's code in words"
    assert '<html lang="en">' in page(reports.faulty())


def test_a_terminal_of_gb2312_gets_chinese_and_marks_that_it_has() -> None:
    shown = printed(reports.faulty(), chinese(), "gb2312")
    assert "发现故障" in shown
    assert "NO source" in shown


def test_the_checklist_has_its_steps_names_in_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMAGENT_LANG", "zh")
    raw = io.StringIO()
    view, checklist = StepsView(Console(file=raw, width=200)), Checklist()
    checklist.passed("container", members=4)
    checklist.refused(UntrustedSigner("x.sig is by a stranger", fix="add it"))
    for step in checklist.steps:
        view.show(step.report())
    view.show({"id": "newer", "status": "pass", "measured": {"a": 1}})
    lines = raw.getvalue().splitlines()
    assert "容器         members = 4" in lines[0]
    assert "UNTRUSTED_SIGNER：签名者不受信任" in lines[4]
    assert lines[4].endswith("（x.sig is by a stranger）")
    assert lines[-2].endswith("基准图片     没有检查到这一步")
    columns = {
        cell_len(line[: line.index(word)]) for line, word in ((lines[0], "members"), (lines[-2], "没有"), (lines[-1], "a ="))
    }
    assert len(columns) == 1
