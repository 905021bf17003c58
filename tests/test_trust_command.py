from __future__ import annotations

import json
import stat
from pathlib import Path

from signing import trust
from tests.support.agent import camagent
from tests.support.bundles import write_key


def ok(*arguments: str) -> str:
    done = camagent(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_keys_are_made_once_and_shown(tmp_path: Path) -> None:
    made = json.loads(ok("key", "generate", "--out", str(tmp_path / "release"), "--json"))
    assert stat.S_IMODE(Path(made["private"]).stat().st_mode) == 0o600
    assert json.loads(ok("key", "show", made["public"], "--json"))["id"] == made["id"]
    again = camagent("key", "generate", "--out", str(tmp_path / "release"))
    assert again.returncode == 2
    assert "error[KEY_UNAVAILABLE]" in again.stderr


def test_a_root_is_made_extended_revoked_and_rotated(tmp_path: Path) -> None:
    root, old, new = (str(tmp_path / name) for name in ("root", "old", "new"))
    secret = tmp_path / "secret"
    secret.write_text("a long passphrase\n")
    ok("key", "generate", "--out", root, "--passphrase-file", str(secret))
    ok("key", "generate", "--out", old)
    ok("key", "generate", "--out", new)
    first = str(tmp_path / "root.json")
    by_root = ("--root-key", f"{root}.pem", "--passphrase-file", str(secret))
    ok("trust", "init", *by_root, "--signer", f"{old}.pub.pem", "-o", first)
    ok("trust", "add-signer", first, "--signer", f"{new}.pub.pem", *by_root)
    ok("trust", "remove-signer", str(tmp_path / "2.root.json"), "--signer", f"{old}.pub.pem", *by_root)
    ok("trust", "rotate", str(tmp_path / "3.root.json"), *by_root, "--expires", "10")
    chain = [
        trust.read_root((tmp_path / name).read_bytes()) for name in ("root.json", "2.root.json", "3.root.json", "4.root.json")
    ]
    assert trust.chain(chain[:1], chain[1:]) == tuple(chain[1:])
    shown = json.loads(ok("trust", "show", str(tmp_path / "4.root.json"), "--json"))
    assert (shown["version"], shown["threshold"], len(shown["signers"])) == (4, 1, 1)
    assert shown["signers"][0] == json.loads(ok("key", "show", f"{new}.pub.pem", "--json"))["id"]
    assert "root 4, expires" in ok("trust", "show", str(tmp_path / "4.root.json"))


def test_two_of_three_root_keys_one_of_them_encrypted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a long passphrase\n")
    ok("key", "generate", "--out", str(tmp_path / "a"), "--passphrase-file", str(secret))
    for name in ("b", "c", "signer"):
        ok("key", "generate", "--out", str(tmp_path / name))
    root_keys = [f"--root-key={tmp_path / name}.pem" for name in ("a", "b", "c")]
    first, second = str(tmp_path / "root.json"), str(tmp_path / "2.root.json")
    init = ("trust", "init", "--signer", str(tmp_path / "signer.pub.pem"), "--passphrase-file", str(secret))
    ok(*init, *root_keys, "--root-threshold", "2", "-o", first)
    alone = camagent("trust", "rotate", first, root_keys[1])
    assert (alone.returncode, alone.stderr.split(":")[0]) == (1, "error[TRUST_ROTATION]")
    ok("trust", "rotate", first, *root_keys[:2], "--passphrase-file", str(secret), "--root-threshold", "1")
    ok("trust", "rotate", second, root_keys[1])
    one, two, three = (trust.read_root((tmp_path / f).read_bytes()) for f in ("root.json", "2.root.json", "3.root.json"))
    assert trust.chain([one], [two, three]) == (two, three)
    assert [root.root_threshold for root in (one, two, three)] == [2, 1, 1]
    spare = camagent("trust", "rotate", second, root_keys[1], "--passphrase-file", str(secret), "-o", str(tmp_path / "x"))
    assert "error[KEY_PASSPHRASE]" in spare.stderr


def test_what_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    ok("key", "generate", "--out", str(tmp_path / "a"))
    ok("key", "generate", "--out", str(tmp_path / "b"))
    init = ("trust", "init", "--root-key", str(tmp_path / "a.pem"), "--signer", str(tmp_path / "b.pub.pem"))
    unreachable = camagent(*init, "--threshold", "2", "-o", str(tmp_path / "r.json"))
    assert unreachable.returncode == 1
    assert "error[THRESHOLD_NOT_MET]" in unreachable.stderr
    ok(*init, "-o", str(tmp_path / "r.json"))
    twice = camagent(*init, "-o", str(tmp_path / "r.json"))
    assert twice.returncode == 2
    stranger = camagent("trust", "rotate", str(tmp_path / "r.json"), "--root-key", str(tmp_path / "b.pem"))
    assert stranger.returncode == 1
    assert "error[UNTRUSTED_SIGNER]" in stranger.stderr
    no_root = camagent("trust", "show", str(tmp_path / "a.pem"))
    assert no_root.returncode == 1
    assert "Traceback" not in unreachable.stderr + twice.stderr + stranger.stderr + no_root.stderr


def test_every_command_that_makes_a_root_prints_json_where_it_is_asked(tmp_path: Path) -> None:
    release, other = write_key(tmp_path, "release"), write_key(tmp_path, "other")
    write_key(tmp_path, "root")
    keys = ["--root-key", str(tmp_path / "root.pem"), "--json"]
    made = ["init", "--signer", str(release.with_suffix(".pub.pem")), "-o", str(tmp_path / "root.json")]
    steps = [
        made,
        ["add-signer", str(tmp_path / "root.json"), "--signer", str(other.with_suffix(".pub.pem"))],
        ["remove-signer", str(tmp_path / "2.root.json"), "--signer", str(release.with_suffix(".pub.pem"))],
        ["rotate", str(tmp_path / "3.root.json")],
    ]
    for version, words in enumerate(steps, 1):
        done = camagent("trust", *words, *keys)
        assert done.returncode == 0, done.stderr
        body = json.loads(done.stdout)
        assert (body["schema"], body["version"]) == ("camagent.trust/1", version)
        assert Path(body["file"]).exists()


def test_online_keys_are_named_shown_and_kept_apart(tmp_path: Path) -> None:
    for name in ("root", "release", "online", "other"):
        ok("key", "generate", "--out", str(tmp_path / name))
    root_key, release, online, other = (
        str(tmp_path / name) for name in ("root.pem", "release.pub.pem", "online.pub.pem", "other.pub.pem")
    )
    init = ("trust", "init", "--root-key", root_key, "--signer", release)
    for shared in (release, str(tmp_path / "root.pub.pem")):
        refused = camagent(*init, "--online-key", shared, "-o", str(tmp_path / "no.json"))
        assert (refused.returncode, refused.stderr.split(":")[0]) == (2, "error[USAGE]")
    plain, first = str(tmp_path / "plain.json"), str(tmp_path / "1.root.json")
    assert json.loads(ok(*init, "-o", plain, "--json"))["online_keys"] == []
    made = json.loads(ok(*init, "--online-key", online, "-o", first, "--json"))
    assert made["online_keys"] == [json.loads(ok("key", "show", online, "--json"))["id"]]
    assert "renewed by:" in ok("trust", "show", first)
    second = json.loads(ok("trust", "rotate", first, "--root-key", root_key, "--online-key", other, "--json"))
    assert second["online_keys"] == [json.loads(ok("key", "show", other, "--json"))["id"]]
    third = json.loads(ok("trust", "rotate", str(tmp_path / "2.root.json"), "--root-key", root_key, "--json"))
    assert third["online_keys"] == second["online_keys"], "what is not given stays"
