"""A folder, or one file, on disk: sign it and verify it as the OpenSSF spec says, without ever following a link."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from signing import envelope as envelopes
from signing import limits, statement
from signing.digests import FileDigest, Hasher, check_file, check_names, check_table, require_safe_name
from signing.keys import FOLDER_KINDS, PublicKey, Signer
from signing.refusals import FileMissing, PayloadDigestMismatch, SizeLimit, UnsafePath
from signing.statement import Shard, Statement

DEFAULT_IGNORED = (".git", ".gitattributes", ".github", ".gitignore")  # the spec's, at the top of the folder only
_CHUNK = 1024 * 1024
_LINK_FIX = "replace the link by the file itself; a link is never followed, since what it leads to can change without a trace"


def sign_model(model: Path, signer: Signer, *, ignore: Sequence[str | Path] = (), output: Path | None = None) -> bytes:
    """The `.sig` file over all files of a folder, or over one file.

    Args:
        model: the folder or file.
        signer: whose signature.
        ignore: paths that are not signed, absolute or relative to the folder; recorded in the signature.
        output: where the signature will lie; left out of what is signed when that is inside the folder.

    Raises:
        KeyTypeUnsupported: the format's key method takes ECDSA P-256, P-384 and P-521.
        UnsafePath: a link, a device or a name that is never allowed is among the files.
        FileMissing: there is nothing to sign.
        SizeLimit: more files or deeper folders than limits allow.
        KeyUnavailable: the signer's token failed.
    """
    signer.public.require(FOLDER_KINDS, "to sign a model")
    if not model.is_dir():
        payload = statement.build(model.name, {model.name: digest_file(model, model.name).sha256})
        return envelopes.sign(payload, signer)
    ignored = ignored_names(model, [*DEFAULT_IGNORED, *ignore, *([output.absolute()] if output else [])])
    files = {name: digest_file(model / name, name).sha256 for name in walk(model, ignored)}
    return envelopes.sign(statement.build(model.resolve().name, files, sorted(ignored)), signer)


def verify_model(
    model: Path,
    signature: bytes,
    key: PublicKey,
    *,
    ignore: Sequence[str | Path] = (),
    signature_path: Path | None = None,
    ignore_unsigned: bool = False,
) -> Statement:
    """Returns what was signed; only when the folder (or file) is it and this key signed it.

    Every signed file is read, also one below an ignored path: ignoring only says which further files do no harm.

    Raises:
        Refused: any refusal of the container, signature and content groups, in DESIGN's order.
    """
    key.require(FOLDER_KINDS, "to verify a model")
    # the signature first: which paths are ignored is part of what was signed, and no file is opened for a stranger
    signed = envelopes.verify(envelopes.read(signature, limit=limits.FOLDER_SIGNATURE_BYTES), key)
    if not model.is_dir():
        check_contents(signed, _single_path(model, signed))
        return signed
    reachable = {name for name in signed.names if _is_there(model, name)}
    if not ignore_unsigned:
        own = [signature_path.absolute()] if signature_path else []
        reachable |= set(walk(model, ignored_names(model, [*DEFAULT_IGNORED, *signed.ignore_paths, *ignore, *own])))
        check_names(signed.names, reachable)
    check_names(signed.names, reachable & signed.names)
    check_contents(signed, {name: model / name for name in signed.names})
    return signed


def ignored_names(model: Path, ignore: Iterable[str | Path]) -> frozenset[str]:
    """Paths as names relative to the folder; what lies outside of it names nothing in it.

    Neither the folder itself nor an empty name can be ignored: that would make any folder verify.
    """
    bases = {Path(os.path.abspath(model)), model.resolve()}  # noqa: PTH100  abspath keeps links: the user's spelling counts too
    names = set()
    for entry in ignore:
        path = Path(entry)
        absolute = path if path.is_absolute() else Path(model, path)
        spellings = {Path(os.path.abspath(absolute)), absolute.parent.resolve() / absolute.name}  # noqa: PTH100
        names |= {
            spelling.relative_to(base).as_posix() for spelling in spellings for base in bases if spelling.is_relative_to(base)
        }
    return frozenset(names - {"."})


def walk(model: Path, ignored: frozenset[str] = frozenset()) -> Iterator[str]:
    """Names of all files below the folder but ignored ones (with an ignored folder, all that is in it).

    Raises:
        UnsafePath: a link, a device, a pipe, a socket, or a name that is never allowed.
        SizeLimit: more than limits.FOLDER_FILES files, or folders nested deeper than limits.FOLDER_DEPTH.
    """
    found = 0
    pending = [PurePosixPath()]
    while pending:
        folder = pending.pop()
        if len(folder.parts) > limits.FOLDER_DEPTH:
            evidence = {"found": f"{len(folder.parts)} levels", "allowed": f"{limits.FOLDER_DEPTH} levels"}
            raise SizeLimit(f"the folder is nested too deeply: {str(folder)[:60]!r}", evidence=evidence, fix="flatten it")
        with _scan(model / folder, folder) as entries:
            for entry in entries:
                path = folder / entry.name
                name = path.as_posix()
                if name in ignored:
                    continue
                require_safe_name(name)
                if entry.is_symlink() or not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                    raise _unsafe_kind(name, entry.stat(follow_symlinks=False).st_mode)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                found += 1
                if found > limits.FOLDER_FILES:
                    evidence = {"found": f"more than {found - 1} files", "allowed": str(limits.FOLDER_FILES)}
                    raise SizeLimit("the folder holds too many files", evidence=evidence, fix="sign parts of it")
                yield name


def _scan(path: Path, shown: PurePosixPath) -> os._ScandirIterator[str]:
    try:
        return os.scandir(path)
    except OSError as exc:
        evidence = {"found": exc.strerror or type(exc).__name__, "expected": "a folder that can be read"}
        raise FileMissing(f"cannot read the folder {str(shown)!r}", evidence=evidence, fix="check its permissions") from exc


def _unsafe_kind(name: str, mode: int) -> UnsafePath:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    evidence = {"found": kind, "expected": "a regular file"}
    return UnsafePath(
        f"{name!r} is {kind}", evidence=evidence, fix=_LINK_FIX if stat.S_ISLNK(mode) else "remove it or ignore it"
    )


def _is_there(model: Path, name: str) -> bool:
    """Whether a signed name leads to something, with no link on the way.

    Raises:
        UnsafePath: there is a link on the way, or it is no regular file.
    """
    path, parts = model, name.split("/")
    for depth, part in enumerate(parts, start=1):
        path /= part
        try:
            mode = path.lstat().st_mode
        except OSError:  # not there, or out of reach, or a name this file system does not take: all FILE_MISSING
            return False
        last = depth == len(parts)
        if not (stat.S_ISREG(mode) if last else stat.S_ISDIR(mode)):
            if not last and stat.S_ISREG(mode):
                return False
            raise _unsafe_kind("/".join(parts[:depth]), mode)
    return True


def _single_path(model: Path, signed: Statement) -> dict[str, Path]:
    """One file stands for a model whose only resource has its name, or is called `.` (releases before 1.0)."""
    if signed.names != {statement.SINGLE_FILE}:
        check_names(signed.names, {model.name})
    return dict.fromkeys(signed.names, model)


def check_contents(signed: Statement, paths: dict[str, Path]) -> None:
    """Every file is the one that was signed, whole or by its shards.

    Raises:
        LineEndingsChanged: a text file differs in its line endings alone.
        PayloadDigestMismatch: a file differs.
    """
    check_table(signed.files, {name: digest_file(paths[name], name) for name in sorted(signed.files)})
    for name in sorted(signed.shards):
        _check_shards(name, signed.shards[name], paths[name])


def _check_shards(name: str, shards: Sequence[Shard], path: Path) -> None:
    handle = _open(path, name)
    with open(handle, "rb", buffering=0) as stream:  # noqa: PTH123  a descriptor
        size, signed_size = os.fstat(handle).st_size, shards[-1].end
        if size != signed_size:
            evidence = {"file": name, "signed": f"{signed_size} bytes", "found": f"{size} bytes"}
            fix = "get the file again from where it was signed"
            raise PayloadDigestMismatch(f"{name!r} has another size than the file that was signed", evidence=evidence, fix=fix)
        for shard in shards:
            found, left = hashlib.sha256(), shard.end - shard.start
            while left and (chunk := stream.read(min(_CHUNK, left))):
                found.update(chunk)
                left -= len(chunk)
            check_file(f"{name}, bytes {shard.start} to {shard.end}", shard.sha256, FileDigest(found.hexdigest(), size))


def digest_file(path: Path, name: str) -> FileDigest:
    """The digest of a regular file.

    Raises:
        UnsafePath: it is a link or no regular file (any more).
        FileMissing: it cannot be read.
    """
    hasher = Hasher()
    with open(_open(path, name), "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.finish()


def _open(path: Path, name: str) -> int:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if path.is_symlink():
            raise _unsafe_kind(name, stat.S_IFLNK) from exc
        evidence = {"found": exc.strerror or type(exc).__name__, "expected": "a file that can be read"}
        raise FileMissing(f"cannot read {name!r}", evidence=evidence, fix="check that it is there and its permissions") from exc
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise _unsafe_kind(name, mode)
    return handle
