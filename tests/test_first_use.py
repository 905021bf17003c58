"""msgspec builds a type's reader when it is first used; two threads that do so at once crash the interpreter (tried, 0.22)."""

from __future__ import annotations

import ast
import subprocess
import sys

from tests.test_contracts import imported, modules, relative

SCRIPT = """
import sys, threading
from camagent.frame import TensorSpec
from camagent.heads import build_head
from camagent.heads.base import HeadContext
from firmware_pkg.manifest import parse
from tests.test_manifest import encoded

data, together = encoded(), threading.Barrier(16)
sys.setswitchinterval(1e-6)  # what takes a day to happen otherwise

def first_use():
    together.wait()
    parse(data)
    build_head("semantic", HeadContext(10, 10, 3, [TensorSpec("o", (1, 3, 10, 10), "float32")], {}))

threads = [threading.Thread(target=first_use) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
MAY_CONVERT = {
    "camagent/config_file.py", "camagent/heads/base.py", "camagent/cli/bundle_create.py",
    "camagent/cli/compare_subjects.py", "camagent/cli/contract.py",
    "camagent/cli/model_inspect.py", "camagent/cli/profile_subject.py",
    "camagent/integrations/hawkbit_read.py",  # hawkBit's one thread, a type of that file alone
    "camagent/language.py",  # for what a command prints
    "camagent/selftest/wire.py",  # the command's end of the socket: one thread
}  # fmt: skip


def test_sixteen_cameras_may_start_at_once() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", SCRIPT], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-2000:]


def test_types_are_decoded_through_decoders_that_were_built_at_import() -> None:
    for path in modules():
        if "msgspec" not in {name.split(".")[0] for name in imported(path)}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in {"msgspec.json.decode", "msgspec.toml.decode"}, f"{relative(path)}: make a Decoder at import"
            assert called != "msgspec.convert" or relative(path) in MAY_CONVERT, f"{relative(path)}: one thread only, or a lock"
