"""Writing a bundle: a folder that appears whole, signed and already verified, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from wardline.core import IntegrityError, WorkspaceError, make_folder
from wardline.core.files import sync_folder, workspace_error
from wardline.crypto import SigningKey, seal, unsafe_read_payload
from wardline.evidence.consistency import check_consistency
from wardline.evidence.statement import (
    BUNDLE_NAME,
    CONTEXT,
    PAYLOAD_TYPE,
    UNSIGNED_NAME,
    decode_statement,
    encode_statement,
)
from wardline.evidence.verify import verify_bundle

_PIECE_BYTES = 1 << 20


def build_bundle(predicate: Mapping[str, Any], digests: Mapping[str, str], *, key: SigningKey) -> bytes:
    """The content of a ``bundle.json``: predicate and digests as an in-toto statement in a signed envelope.

    Args:
        predicate: the evidence, in the form ``wardline.evidence/1``.
        digests: SHA-256 (64 hexadecimal digits) of each subject file by its plain name; at least one.
        key: the signer's key.

    Raises:
        IntegrityError: if the evidence contradicts itself; such evidence is not signed.
        ValueError: for a name that is not plain, no subject, or evidence of more than 4 MiB.
    """
    statement = encode_statement(predicate, digests)
    # What is read back, rather than what was given: tuples and frozen values are plain JSON by then.
    check_consistency(decode_statement(statement).predicate)
    return seal(statement, payload_type=PAYLOAD_TYPE, key=key, context=CONTEXT)


def write_bundle(
    folder: Path,
    *,
    predicate: Mapping[str, Any],
    files: Mapping[str, bytes | Path],
    key: SigningKey,
    replace: bool = False,
) -> Path:
    """Write a bundle's folder: ``bundle.json`` and the subject files.

    The folder is built beside its place, synced to disk, verified as a stranger would verify it, and
    renamed. If a bundle of the same evidence and files by the same key stands there, it stays and nothing
    is written, so that a run which was interrupted just after writing can repeat the step.

    Args:
        folder: where; nothing may stand there but an empty folder or such a bundle.
        predicate: the evidence, in the form ``wardline.evidence/1``.
        files: content, or path to copy from, of each subject by its plain name; at least one.
        key: the signer's key.
        replace: allow another bundle to stand there, which is then removed. For a moment neither stands
            there; a mixture of both never does.

    Returns:
        The path of ``bundle.json``.

    Raises:
        IntegrityError: if the evidence contradicts itself, or the disk gives back other bytes than were written.
        WorkspaceError: if it cannot be written, or something else stands there already.
        ValueError: for a name that is not plain, no file, or evidence of more than 4 MiB.

    Guarantee:
        A crash, a full disk or a refused write leaves what stood there before; a folder under this name
        verifies. (A hard stop may leave a hidden folder ``.NAME.*`` beside it, which can be deleted.)
    """
    workplace = _workplace(folder)
    try:
        digests = _write_files(workplace, files)
        if not replace and _holds_same(folder, predicate, digests, key):
            return folder / BUNDLE_NAME
        _write(workplace / BUNDLE_NAME, build_bundle(predicate, digests, key=key))
        verify_bundle(workplace, key.verifying_key)
        _publish(workplace, folder, replace=replace)
    except OSError as error:
        raise workspace_error(error, folder) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return folder / BUNDLE_NAME


def unsafe_write_unsigned_bundle(
    folder: Path, *, predicate: Mapping[str, Any], files: Mapping[str, bytes | Path], replace: bool = False
) -> Path:
    """Write the same folder without a signature: proof of nothing, for trying out only.

    The statement goes into ``unsigned-statement.json``, so that no reader can take it for a bundle, and
    `verify_bundle` refuses the folder. Arguments and errors are those of `write_bundle`.

    Returns:
        The path of ``unsigned-statement.json``.
    """
    workplace = _workplace(folder)
    try:
        statement = encode_statement(predicate, _write_files(workplace, files))
        check_consistency(decode_statement(statement).predicate)
        _write(workplace / UNSIGNED_NAME, statement)
        _publish(workplace, folder, replace=replace)
    except OSError as error:
        raise workspace_error(error, folder) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return folder / UNSIGNED_NAME


def _workplace(folder: Path) -> Path:
    make_folder(folder.parent)
    try:
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise workspace_error(error, folder) from error


def _write_files(workplace: Path, files: Mapping[str, bytes | Path]) -> dict[str, str]:
    # All names first: a name with a separator must not get as far as being opened.
    encode_statement({}, dict.fromkeys(files, "0" * 64))
    return {name: _write(workplace / name, source) for name, source in files.items()}


def _write(path: Path, source: bytes | Path) -> str:
    """Write or copy a new file, sync it to disk, and return the SHA-256 of the bytes that went into it."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as target:
        if isinstance(source, bytes):
            digest.update(source)
            target.write(source)
        else:
            with _open_source(source) as origin:
                while piece := origin.read(_PIECE_BYTES):
                    digest.update(piece)
                    target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def _open_source(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise WorkspaceError(f"cannot read a file of the bundle: {reason}", where=str(source)) from error


def _holds_same(folder: Path, predicate: Mapping[str, Any], digests: Mapping[str, str], key: SigningKey) -> bool:
    # Signatures differ from call to call, so bundles are compared by what was signed.
    if not (folder / BUNDLE_NAME).exists():
        return False
    try:
        verify_bundle(folder, key.verifying_key)
        payload = unsafe_read_payload((folder / BUNDLE_NAME).read_bytes(), payload_type=PAYLOAD_TYPE)
    except IntegrityError:
        # Damaged or another's: not the same, so `_publish` will refuse to touch it.
        return False
    return payload == encode_statement(predicate, digests)


def _publish(workplace: Path, folder: Path, *, replace: bool) -> None:
    workplace.chmod(0o755)
    sync_folder(workplace)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise WorkspaceError("a file stands where the bundle should go", where=str(folder), hint="choose another name")
    standing = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    old: Path | None = None
    if standing:
        if not replace or not _is_only_a_bundle(folder, standing):
            raise WorkspaceError(
                "something else stands where the bundle should go",
                where=str(folder),
                hint="choose another folder" if replace else "choose another folder, or allow it to be replaced",
            )
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        folder.rename(old)
    try:
        workplace.rename(folder)
    except OSError:
        if old is not None:
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    if old is not None:
        shutil.rmtree(old)


def _is_only_a_bundle(folder: Path, standing: set[str]) -> bool:
    """Whether a folder holds a bundle, signed or not, and nothing besides that a person could miss."""
    try:
        if BUNDLE_NAME in standing:
            payload = unsafe_read_payload((folder / BUNDLE_NAME).read_bytes(), payload_type=PAYLOAD_TYPE)
        elif UNSIGNED_NAME in standing:
            payload = (folder / UNSIGNED_NAME).read_bytes()
        else:
            return False
        known = {BUNDLE_NAME, UNSIGNED_NAME, *decode_statement(payload).digests}
    except IntegrityError:
        return False
    return standing <= known and not any((folder / name).is_dir() for name in standing)
