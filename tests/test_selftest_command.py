"""`camagent selftest` as people call it: exit codes, JSON, a page, and everything that may be broken around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from camagent.owner import acquire
from camagent.selftest.schema import schema
from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.broker import Broker, free_port, running
from tests.support.bundles import make_signed, make_unsigned, write_root
from tests.support.plugin import install_failing_backends

SCHEMA = jsonschema.Draft202012Validator(schema())


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("broker")) as started:
        yield started


def configured(folder: Path, port: int, *cameras: str, **keys: Any) -> Path:
    """A configuration file; `keys` as for Agent."""
    folder.mkdir(exist_ok=True)
    return Agent(folder, port, "\n".join(cameras), **keys).path


def selftest(path: Path, *options: str, plugins: str = "") -> tuple[int, dict[str, Any], str]:
    """Exit code, report and stderr; the report fits its schema whatever it says."""
    done = camagent("selftest", "-c", str(path), "--json", *options, PYTHONPATH=plugins)
    assert "Traceback" not in done.stderr
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    SCHEMA.validate(report)
    return done.returncode, report, done.stderr


def step(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [item for item in report["steps"] if item["id"] == name]
    return dict(found)


def ids(report: dict[str, Any]) -> list[str]:
    return [cause["id"] for cause in report["causes"]]


LADDER = ["configuration", "bundle", "backend", "golden-tensor", "golden-picture", "source", "live", "filters", "delivery"]


def test_a_healthy_camera_without_a_daemon(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    path = configured(tmp_path / "new", broker.port, camera(pictures, make_unsigned(tmp_path)))
    with Listener(broker.port) as listener:
        code, report, stderr = selftest(path)
        assert (code, report["verdict"], ids(report)) == (0, "healthy", [])
        assert [item["id"] for item in report["steps"]] == LADDER
        assert step(report, "bundle")["status"] == "warn", "allow_unsigned is told, never the verdict"
        assert report["inferences"] <= 25
        assert stderr == ""
        health = listener.wait("cam-01/health", lambda body: body.get("probe") is True)
        assert health["run"] == 1
        probe = listener.wait("front/detections", lambda body: body.get("probe") is True)
        assert (probe["detections"], probe["run"], probe["seq"]) == ([], 1, 1)
        listener.wait_payload("cam-01/available", b"stopped")
        assert (tmp_path / "new" / "state").is_dir()


def test_a_signed_bundle_from_the_store(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    path = configured(tmp_path, broker.port, camera(pictures, Path("blobs")), agent=f'trust = "{tmp_path}/root.json"')
    code, report, _ = selftest(path)
    assert (code, ids(report)) == (1, ["no-bundle"])
    assert step(report, "backend")["status"] == "skip"
    assert step(report, "source")["status"] == "pass", "the rest is tested all the same"
    assert step(report, "delivery")["status"] == "pass"
    bundle = make_signed(tmp_path)
    assert camagent("bundle", "install", str(bundle), "-c", str(path)).returncode == 0
    before = camagent("bundle", "list", "-c", str(path), "--json").stdout
    code, report, _ = selftest(path)
    assert (code, ids(report)) == (0, [])
    assert step(report, "bundle")["measured"]["signature"] == "verified"
    assert camagent("bundle", "list", "-c", str(path), "--json").stdout == before, "a test begins and ends no trial"


def test_refused_bundles_say_their_own_code(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    trust: dict[str, Any] = {"agent": f'trust = "{tmp_path}/root.json"'}
    unsigned = make_unsigned(tmp_path, file="u.cambundle")
    stranger = make_signed(tmp_path, signers=("stranger",), file="s.cambundle")
    cut = tmp_path / "cut.cambundle"
    cut.write_bytes(make_signed(tmp_path, file="g.cambundle").read_bytes()[:3000])
    wanted = {unsigned: "UNSIGNED_NOT_ALLOWED", stranger: "UNTRUSTED_SIGNER", cut: "BUNDLE_TRUNCATED"}
    for bundle, refusal in wanted.items():
        code, report, _ = selftest(configured(tmp_path / bundle.stem, broker.port, camera(pictures, bundle), **trust))
        assert (code, ids(report)) == (1, ["bundle-refused"])
        (cause,) = report["causes"]
        assert cause["evidence"]["code"] == refusal
        assert cause["fix"]


def test_two_cameras_say_whose_fault_it_is(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    bundle = make_unsigned(tmp_path)
    absent = camera(f"rtsp://127.0.0.1:{free_port()}/x", bundle, "back", stall_timeout=1.0)
    path = configured(tmp_path, broker.port, camera(pictures, bundle), absent)
    code, report, _ = selftest(path)
    assert code == 1
    assert [(cause["id"], cause["evidence"]["camera"]) for cause in report["causes"]] == [("stream-unreachable", "back")]
    assert {item["measured"]["camera"] for item in report["steps"]} == {"front", "back"}
    code, report, _ = selftest(path, "--camera", "front")
    assert (code, report["verdict"]) == (0, "healthy")


def test_a_switch_that_somebody_turned_off_is_an_answer_and_no_fault(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    path = configured(tmp_path, broker.port, camera(pictures, make_unsigned(tmp_path)))
    owner = acquire(tmp_path / "state")
    owner.remember_detect("front", {"on": False, "since": 1.7e9, "by": "mqtt"})
    owner.release()
    code, report, _ = selftest(path)
    assert (code, report["verdict"], ids(report)) == (0, "healthy", [])
    found = step(report, "configuration")
    assert found["status"] == "warn"
    assert found["measured"]["reason"] == "disabled-by-request"
    assert "mqtt" in found["measured"]["answer"]
    assert "2023-11-14" in found["measured"]["answer"]


def test_backends_that_fail_are_findings(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    plugins = install_failing_backends(tmp_path / "plugins")
    for name in ("raiser", "blank"):
        bundle = make_unsigned(tmp_path, file=f"{name}.cambundle", artifacts=[{"path": "model.onnx", "backend": name}])
        code, report, _ = selftest(configured(tmp_path / name, broker.port, camera(pictures, bundle)), plugins=plugins)
        assert (code, report["verdict"]) == (1, "fault"), name
        assert "backend" in [cause["layer"] for cause in report["causes"]], report["causes"]
        assert step(report, "delivery")["status"] == "pass", "the rest is tested all the same"


def test_wrong_usage_and_wrong_configurations_are_2(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    bundle = make_unsigned(tmp_path)
    good = configured(tmp_path / "good", broker.port, camera(pictures, bundle))
    bad = configured(tmp_path / "bad", broker.port, camera(pictures, bundle, nmae="x"))
    none = configured(tmp_path / "none", broker.port)
    film = configured(tmp_path / "film", broker.port, camera(tmp_path / "no.mp4", bundle))
    for arguments, words in (
        (["-c", str(tmp_path / "no.toml")], "no.toml"),
        (["-c", str(bad)], "did you mean 'name'"),
        (["-c", str(none)], "no camera"),
        (["-c", str(film)], "is not there"),
        (["-c", str(good), "--camera", "fornt"], "did you mean 'front'"),
        (["-c", str(good), "--html", str(tmp_path / "no" / "folder.html")], "cannot be written"),
        (["--bundle", str(bundle), "--camera", "front"], "-c FILE"),
        (["-c", str(good), "--trust", str(bundle)], "--bundle"),
        (["--bundle", str(tmp_path / "no.cambundle")], "does not exist"),
    ):
        done = camagent("selftest", *arguments, "--json")
        assert (done.returncode, done.stdout) == (2, ""), (arguments, done.stderr)
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_state_directory_that_cannot_be_owned_leaves_it_undecided(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    path = configured(tmp_path, broker.port, camera(pictures, make_unsigned(tmp_path)))
    (tmp_path / "state").write_text("a file")
    done = camagent("selftest", "-c", str(path), "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "fix:" in done.stderr


def test_a_bundle_on_a_workstation(tmp_path: Path) -> None:
    bundle = make_unsigned(tmp_path)
    done = camagent("selftest", "--bundle", str(bundle), "--json", "--html", str(tmp_path / "report.html"))
    report = json.loads(done.stdout)
    SCHEMA.validate(report)
    assert (done.returncode, report["verdict"]) == (0, "healthy")
    assert "warning[UNSIGNED]" in done.stderr
    assert [item["id"] for item in report["steps"]] == LADDER
    assert {item["id"] for item in report["steps"] if item["status"] == "skip"} >= {
        "configuration",
        "source",
        "live",
        "delivery",
    }
    assert "<html" in (tmp_path / "report.html").read_text()[:400].lower()
    write_root(tmp_path)
    stranger = make_signed(tmp_path, signers=("stranger",), file="s.cambundle")
    done = camagent("selftest", "--bundle", str(stranger), "--trust", str(tmp_path / "root.json"), "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, ids(report)) == (1, ["bundle-refused"])
    assert report["causes"][0]["evidence"]["code"] == "UNTRUSTED_SIGNER"


def test_for_a_person(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    path = configured(tmp_path, broker.port, camera(pictures, make_unsigned(tmp_path)))
    done = camagent("selftest", "-c", str(path))
    assert done.returncode == 0
    assert "Healthy" in done.stdout
    assert done.stderr == ""
