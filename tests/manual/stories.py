"""Two recorded sessions, played again with the public models: a first run, and a silent camera that is mended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from tests.manual.blocks import Block, commands, printed
from tests.manual.checks import PUBLIC
from tests.manual.desk import Desk
from tests.manual.ways import compare, plain
from tests.support.agent import SCHEMAS
from tests.support.broker import wait_for
from tests.support.camera import RtspCamera

CLIP = "one-by-one-person-detection.mp4"


def log(here: Desk) -> str:
    return (here.folder / "agent.log").read_text("utf-8")


# -- docs/first-run.md --------------------------------------------------------------------------------------------------------


def configured(block: Block, here: Desk) -> None:
    """The camera is a real RTSP server, on another port."""
    camera = here.until_the_end.enter_context(RtspCamera(here.folder / CLIP))
    here.kept["camera"] = camera
    shown = "\n".join(printed(block.text)).replace("rtsp://127.0.0.1:8554/cam", camera.url)
    (here.folder / "camagent.toml").write_text(here.ours(shown))


def ran(block: Block, here: Desk) -> None:
    """The camera is killed and started again meanwhile."""
    words = [sys.executable, "-m", "camagent", "watch", "--url", f"mqtt://127.0.0.1:{here.broker_port}"]
    with (here.folder / "watch.log").open("wb") as out:
        watching = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
    here.until_the_end.callback(watching.wait)
    here.until_the_end.callback(watching.terminate)
    camera = here.kept["camera"]
    here.stay("camagent run -c camagent.toml")
    wait_for(lambda: "front: running" in log(here), 40, "front: running")
    camera.kill()
    wait_for(lambda: "cannot be reached" in log(here), 60, "a camera that is away")
    camera.start()
    wait_for(lambda: log(here).count("front: running") == 2, 60, "running again")
    got = {_said(line) for line in log(here).splitlines()}
    later = {"INFO stopping", "INFO stopped"}
    shown = {_said(line) for line in printed(block.text)}
    missing = {line for line in shown - got - later if "too early to tell" not in line}  # of model and source, either is first
    assert not missing, f"{block} shows {missing}\nlogged: {log(here)}"


def _said(line: str) -> str:
    """A line of the log without its numbers and addresses; as it is shown, it begins with the level."""
    line = re.sub(r"(rtsp|tcp|mqtt)://[\d.:]+(/cam)?|port \d+", "@", line)
    return re.sub(r"[\d.]+ s\b", "# s", line[line.find(next(iter(re.findall(r"INFO|WARNING", line)), line)) :])


def watched(block: Block, here: Desk) -> None:
    """Every kind of message that is shown came."""
    seen = (here.folder / "watch.log").read_text("utf-8")
    topics = {line.split()[1] for line in printed(block.text) if line != ".."}
    missing = topics - {line.split()[1] for line in seen.splitlines() if line}
    assert not missing, f"{block} shows {missing}:\n{seen}"


def healthy(block: Block, here: Desk) -> None:
    """The same keys, and the schema's."""
    (command,) = commands(block.text)
    done = here.run(here.ours(command))
    shown, got = json.loads("\n".join(printed(block.text))), json.loads(done.stdout)
    assert keys(shown) == keys(got), f"{block}: {keys(shown) ^ keys(got)}"
    for body in (shown, got):
        assert not [error.message for error in SCHEMAS[body["schema"]].iter_errors(body)], str(block)


def keys(body: Any, above: str = "") -> set[str]:
    if not isinstance(body, dict):
        return {above}
    return {key for name, value in body.items() for key in keys(value, f"{above}.{name}")}


# -- docs/self-test.md --------------------------------------------------------------------------------------------------------


def silent(block: Block, here: Desk) -> None:
    """The bundle was built in a hurry, and the filter is another camera's."""
    made = here.run(
        f"camagent bundle create FastestDet.onnx --name people --version 1.0.0 --head fastestdet {PUBLIC} -o people.cambundle",
        strict=False,
    )
    assert made.returncode == 1
    here.kept["created"] = made.stdout
    (here.folder / "camagent.toml").write_text(
        here.ours(
            '[agent]\nid = "cam-01"\nstate_dir = "state"\nallow_unsigned = true\n[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n'
            f'[[camera]]\nname = "hall"\nurl = "{CLIP}"\nbundle = "./people.cambundle"\n[camera.filter]\nlabels = ["car"]\n'
        )
    )
    here.stay("camagent run -c camagent.toml")
    shown = json.loads("{" + "\n".join(printed(block.text)) + "}")
    (command,) = commands(block.text)

    def told() -> bool:
        body = json.loads(here.run(here.ours(command)).stdout)
        here.kept["health"] = body
        return bool(body["reason"] == shown["reason"])

    wait_for(told, 60, f"{block}: {shown['reason']}")
    assert plain(re.sub(r"\d+", "0", here.kept["health"]["detail"])) == re.sub(r"\d+", "0", shown["detail"])


def named(block: Block, here: Desk) -> None:
    """Verdict, causes, fixes, steps with their outcome, variants."""
    done = here.run("camagent selftest -c camagent.toml; echo $?", strict=False)
    shown, got = _told(block.text), _told(done.stdout)
    missing = [line for line in shown if line not in got]
    assert not missing, f"{block} shows {missing}:\n{done.stdout}"


def _told(text: str) -> list[str]:
    """What does not depend on the moment; the last is the exit code."""
    kept = r"[✓!✗] \w[\w-]*|\d\. .*|self-test of .*| +(?:fix|change) .*| +✓ .*|V:\S+ .*?(?=  )|\d"
    found = re.findall(rf"^(?:{kept})", text, re.MULTILINE)
    return [" ".join(re.sub(r"\['.*'\]", "[..]", line).split()) for line in found]  # which labels are seen differs


def applied(block: Block, here: Desk) -> None:
    """What is written by hand meanwhile is written: the bundle's new name."""
    apply, *rest = commands(block.text)
    done = here.run(apply, strict=False)
    shown = printed(block.text)
    end = next(index for index, line in enumerate(shown) if line.startswith('{"schema"'))
    missing = [line for line in map(plain, shown[:end]) if line not in map(plain, done.stdout.splitlines())]
    missing = [line for line in missing if not line.startswith("@@")]
    assert not missing, f"{block} shows {missing}:\n{done.stdout}"
    move, reload, subscribe, again = rest
    assert here.agent is not None
    here.run(here.ours(move))
    here.run("sed -i 's/people.cambundle/people-1.0.0.post1.cambundle/' camagent.toml")
    here.run(reload.replace("$(pgrep -f 'camagent run')", str(here.agent.pid)))
    body = json.loads(here.run(here.ours(subscribe)).stdout)
    assert {one["label"] for one in body["detections"]} == {"person"}, str(block)
    assert body["model"]["version"] == "1.0.0.post1"
    assert "✓ Healthy" in here.run(again, strict=False).stdout


def created(block: Block, here: Desk) -> None:
    compare(block, printed(block.text), here.kept["created"])
