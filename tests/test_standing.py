from __future__ import annotations

from camagent.standing import LONGEST, Standing, refusal_code, status_line

GOOD = Standing("running", None, online=True)


def line(**cameras: Standing) -> str:
    return status_line(cameras, broker=None, root=True, config_error=None)


def test_what_is_well_is_counted_and_what_is_not_is_named() -> None:
    assert line(front=GOOD) == "1 camera: 1 running"
    refused = Standing("waiting-bundle", "bundle-refused", online=True, code="TRUST_MISSING")
    away = Standing("waiting-source", "stream-unreachable", online=False)
    assert line(front=GOOD, porch=refused, gate=away) == (
        "3 cameras: 1 running, 1 waiting-bundle, 1 waiting-source; "
        "porch: bundle-refused (TRUST_MISSING); gate: stream-unreachable"
    )


def test_no_camera_no_root_no_broker_and_a_wrong_file_are_said() -> None:
    told = status_line({}, broker="mqtt-unreachable", root=False, config_error="x.toml: unknown key 'a'\nb")
    assert told == (
        "no camera is configured; no trust root: camagent trust install root.json; MQTT: mqtt-unreachable; "
        "configuration not followed: x.toml: unknown key 'a'\\nb"
    )


def test_the_line_is_one_line_of_bounded_length() -> None:
    many = {f"camera-{number}": Standing("failed", "stage-died", online=False) for number in range(40)}
    told = status_line(many, broker=None, root=True, config_error="\x1b[2J" * 99)
    assert len(told) == LONGEST
    assert told.isprintable()


def test_codes_are_told_from_sentences() -> None:
    assert refusal_code("TRUST_MISSING: there is no root (install one)") == "TRUST_MISSING"
    assert refusal_code("no frame was decoded for 3.0 s") == ""
    assert refusal_code("front-worker: it hangs") == ""
