"""The shape of the code, held against DESIGN section 11: who may import whom. A new file must fit in, or this fails."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("signing", "firmware_pkg", "camagent")

# values and plumbing that everybody may use; they import none of each other but errors (and config by config_file)
LEAVES = {"frame", "slot", "clock", "errors", "config", "health", "service"}
PLUMBING = LEAVES | {"bodies", "commands", "config_file", "labels", "notify", "redact", "owner", "vitals", "stage", "trial"}
PLUMBING |= {"audit", "language", "trace", "picture_check", "reasons", "rockchip", "onlookers", "overlay", "overlay_file"}
PLUMBING |= {"npu", "pulse", "watchdog", "lives", "vigil", "failed_start", "standing", "open_events"}
PLUMBING |= {"turns", "waiting_line", "announced", "boxes"}
# the way of a frame, in order
STAGES = {"sources", "preprocess", "backends", "heads", "filters", "track", "events", "counts", "best_picture", "messages"}
STAGES |= {"outbox", "mqtt", "models"}
ASSEMBLY = {
    "agent",
    "announcing",
    "steps",
    "surroundings",
    "camera",
    "cameras",
    "config_check",
    "describing",
    "fetching",
    "inputs",
    "kept_topics",
    "bundles",
    "orders",
    "live",
    "trust_desk",
    "golden",
    "happenings",
    "head_fit",
    "health_facts",
    "inbox",
    "model_holder",
    "pipeline",
    "probing",
    "reader",
    "rollouts",
    "workbench",
}  # only these import stages; steps and camera are the agent's own parts
ABOVE = {"cli", "sinks", "__main__", "jobs", "control", "web", "selftest", "profiling", "comparing"}
ABOVE |= {"unit", "installation", "support", "demo", "fleet"}

ALLOWED_BETWEEN_STAGES = {("mqtt", "outbox"), ("mqtt", "messages")}
PIPELINE_USERS = {"cli", "web", "control", "selftest", "pipeline"}
ONLY_IN = {
    "av": {"camagent/sources", "camagent/preprocess.py", "camagent/sinks.py"},
    "paho": {"camagent/mqtt/"},
    "onnxruntime": {"camagent/backends/onnx.py"},
    "rknnlite": {"camagent/backends/rknn.py"},
    "rknn": {"camagent/rockchip/worker.py"},
}
SIGNING_MAY_USE = {"cryptography", "tuf", "securesystemslib", "PyKCS11", "signing"}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who uses whom"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def group(name: str) -> str:
    """camagent.heads.nms -> heads."""
    return name.split(".")[1] if "." in name else ""


def edges() -> set[tuple[str, str, str]]:
    """(file, its group, imported group) within camagent."""
    found = set()
    for path in modules():
        if not relative(path).startswith("camagent/"):
            continue
        own = group(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name in imported(path):
            if name.startswith("camagent.") and group(name) != own:
                found.add((relative(path), own, group(name)))
    return found


def test_layers_point_one_way_only() -> None:
    rank = {name: index for index, name in enumerate(PACKAGES)}
    for path in modules():
        own = rank[relative(path).split("/")[0]]
        for name in imported(path):
            other = rank.get(name.split(".")[0])
            assert other is None or other <= own, f"{relative(path)} imports {name}: layers point one way"


def test_every_module_of_camagent_has_its_place() -> None:
    known = PLUMBING | STAGES | ASSEMBLY | ABOVE | {"__init__", "selftest", "web", "control", "integrations"}
    for path in modules():
        if relative(path).startswith("camagent/"):
            own = group(".".join(path.relative_to(ROOT).with_suffix("").parts))
            assert own in known, f"{relative(path)}: say in docs/architecture.md and in this test what it may import"


def test_leaves_import_no_sibling_but_errors() -> None:
    for file, own, other in edges():
        assert own not in LEAVES or other == "errors", f"{file} is a leaf and imports {other}"


def test_stages_never_import_each_other() -> None:
    for file, own, other in edges():
        if own in STAGES and other in STAGES:
            assert (own, other) in ALLOWED_BETWEEN_STAGES, f"{file}: the stage {own} imports the stage {other}"


def test_only_the_assembly_imports_stages() -> None:
    for file, own, other in edges():
        if own in PLUMBING:
            assert other in PLUMBING, f"{file} is plumbing and imports {other}"
        if own in ABOVE and other in STAGES:
            assert (own, other) == ("sinks", "preprocess"), f"{file} imports the stage {other}: get it from pipeline"


def test_integrations_get_what_they_need_as_arguments() -> None:
    for file, own, other in edges():
        assert own != "integrations" or other in PLUMBING | {"__version__"}, f"{file} imports {other}"


def test_only_commands_web_control_and_selftest_import_the_pipeline() -> None:
    for file, own, other in edges():
        assert other != "pipeline" or own in PIPELINE_USERS, f"{file} imports pipeline"
        assert other != "agent" or own == "pipeline", f"{file} imports agent: get it from pipeline"
        assert other != "cli" or own in {"cli", "__main__"}, f"{file} imports cli"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    for path in modules():
        if any(name.split(".")[0] == library for name in imported(path)):
            assert any(relative(path).startswith(place) for place in ONLY_IN[library]), f"{relative(path)} imports {library}"


def test_signing_uses_the_standard_library_cryptography_and_tuf_alone() -> None:
    for path in (ROOT / "signing").rglob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            assert top in SIGNING_MAY_USE or top in sys.stdlib_module_names, f"{relative(path)} imports {name}"


def test_folders_are_at_most_two_deep_and_files_stay_short() -> None:
    for path in modules():
        assert len(path.relative_to(ROOT).parts) <= 3, f"{relative(path)} lies too deep"
        lines = len(path.read_text("utf-8").splitlines())
        assert lines <= 400, f"{relative(path)} has {lines} lines"


def test_every_head_in_the_registry_has_a_file_a_test_and_a_paragraph() -> None:
    from camagent.heads import HEADS

    text = (ROOT / "docs" / "heads.md").read_text("utf-8")
    helpers = {"__init__", "anchors", "base", "cells", "instances", "levels", "maps", "masks", "nms", "priors"}
    files = {path.stem for path in (ROOT / "camagent" / "heads").glob("*.py")} - helpers
    assert files == {module.rpartition(".")[2] for module, _, _ in HEADS.values()}
    for name, (module, _, _) in HEADS.items():
        stem = module.rpartition(".")[2]
        assert (ROOT / "tests" / "heads" / f"test_{stem}.py").exists(), f"head {name} has no test"
        assert f"`{name}`" in text, f"docs/heads.md says nothing of {name}"


def test_every_pass_in_the_registry_has_a_file_a_test_and_a_paragraph() -> None:
    from firmware_pkg.graph import PASSES

    text = (ROOT / "docs" / "optimize.md").read_text("utf-8")
    helpers = {"__init__", "affine", "ending", "fixed", "moves", "network", "optimize", "passes", "proof", "registry"}
    files = {path.stem for path in (ROOT / "firmware_pkg" / "graph").glob("*.py")} - helpers
    assert files == {place.module for place in PASSES.values()}
    for name, place in PASSES.items():
        assert (ROOT / "tests" / "graph" / f"test_{place.module}.py").exists(), f"pass {name} has no test"
        assert f"**`{name}`**" in text, f"docs/optimize.md says nothing of {name}"


def test_only_the_passes_need_the_graph_tools() -> None:
    for path in modules():
        if any(name.split(".")[0] in {"onnx", "onnxslim"} for name in imported(path)):
            assert relative(path).startswith("firmware_pkg/graph/"), f"{relative(path)}: cameras have no onnx"
    code = "import sys, firmware_pkg.graph; print('onnx' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_heavy_modules_are_not_imported_before_they_are_needed() -> None:
    code = "import sys, camagent.cli; camagent.cli.run(['--help']); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert not {"av", "cv2", "onnxruntime", "paho", "numpy", "tuf", "starlette"} & set(loaded)
