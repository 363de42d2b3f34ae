"""Verification of a bundle: by its files and a public key, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardline.core import IntegrityError, Verdict
from wardline.crypto import MAX_PAYLOAD_BYTES, VerifyingKey, open_envelope
from wardline.evidence.consistency import check_consistency
from wardline.evidence.statement import BUNDLE_NAME, CONTEXT, PAYLOAD_TYPE, UNSIGNED_NAME, decode_statement

_MAX_ENVELOPE_BYTES = 2 * MAX_PAYLOAD_BYTES
_PIECE_BYTES = 1 << 20
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """What a verified bundle says. A bundle that verifies may well say `fail`: look at the verdict.

    Attributes:
        verdict: what the gate decided, drawn anew from the evidence.
        predicate: the evidence.
        digests: SHA-256 of each subject by name, for whoever reads a subject later.
        subjects_checked: names of the files whose bytes were compared with the statement.
        subjects_absent: names of those that were not there; empty if a whole folder was verified.
        key_id: fingerprint of the key that signed.
    """

    verdict: Verdict
    predicate: Mapping[str, Any]
    digests: Mapping[str, str]
    subjects_checked: tuple[str, ...]
    subjects_absent: tuple[str, ...]
    key_id: str

    def __str__(self) -> str:
        absent = f", {len(self.subjects_absent)} absent" if self.subjects_absent else ""
        files = f"{len(self.subjects_checked)} files checked{absent}"
        return f"verified, verdict {self.verdict.value}, {files}, key {self.key_id}"


def verify_bundle(path: Path, key: VerifyingKey) -> VerifiedBundle:
    """Verify a bundle.

    Args:
        path: the bundle's folder: every file in it must be as signed, none may lack and none be there in
            addition. Or its ``bundle.json`` alone: then subjects beside it are checked and absent ones
            listed, and other files are of no concern.
        key: the signer's public key, from a source that is not the bundle.

    Returns:
        What the bundle says.

    Raises:
        IntegrityError: if any byte is not as it was signed, a signature or file is missing, a file was
            added, or the evidence contradicts itself.

    Guarantee:
        If it returns, the holder of `key` signed this predicate and these digests as Wardline evidence
        (unless both ML-DSA-65 and Ed25519, or SHA-256, are broken), the files named in `subjects_checked`
        had these digests when they were read, and the verdict follows from the judgements. It does not
        say that the signer's machine was honest, nor when the signature was made.
    """
    whole = path.is_dir()
    folder = path if whole else path.parent
    bundle = path / BUNDLE_NAME if whole else path
    with _at(bundle):
        envelope = _read_envelope(bundle, follow=not whole)
        payload = open_envelope(envelope, payload_type=PAYLOAD_TYPE, key=key, context=CONTEXT)
        statement = decode_statement(payload)
        verdict = check_consistency(statement.predicate)
    if whole:
        _refuse_strangers(folder, {BUNDLE_NAME, *statement.digests})
    checked, absent = [], []
    for name, digest in statement.digests.items():
        with _at(folder / name):
            found = _digest(folder / name)
            if found is None and not whole:
                absent.append(name)
                continue
            if found is None:
                raise IntegrityError("the file is missing from the bundle")
            # Digests of public files: nothing to learn from the time that a comparison takes.
            if found != digest:
                raise IntegrityError("the file is not the one that was signed")
            checked.append(name)
    return VerifiedBundle(
        verdict=verdict,
        predicate=statement.predicate,
        digests=statement.digests,
        subjects_checked=tuple(checked),
        subjects_absent=tuple(absent),
        key_id=key.id,
    )


def _read_envelope(path: Path, *, follow: bool) -> bytes:
    unsigned = path.name == UNSIGNED_NAME or (path.parent / UNSIGNED_NAME).exists()
    descriptor = None if path.name == UNSIGNED_NAME else _open(path, follow=follow)
    if descriptor is None:
        raise IntegrityError(
            "there is no signed bundle here" + (", only an unsigned statement" if unsigned else ""),
            hint="sign it again with a key" if unsigned else f"give the folder with {BUNDLE_NAME}, or that file",
        )
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MAX_ENVELOPE_BYTES + 1)
    if len(data) > _MAX_ENVELOPE_BYTES:
        raise IntegrityError(f"the envelope has more than {_MAX_ENVELOPE_BYTES} bytes")
    return data


def _digest(path: Path) -> str | None:
    """SHA-256 of a subject, or None if nothing stands there."""
    descriptor = _open(path, follow=False)
    if descriptor is None:
        return None
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _open(path: Path, *, follow: bool) -> int | None:
    """Open a plain file for reading; a link, folder, device or pipe in its place is refused, not followed."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError("this is not a plain file")
    return descriptor


def _refuse_strangers(folder: Path, known: set[str]) -> None:
    with _at(folder):
        strangers = sorted({entry.name for entry in folder.iterdir()} - known)
    if strangers:
        # ascii(): a name chosen by a stranger must not reach the terminal as control characters.
        names = ", ".join(ascii(name)[:80] for name in strangers[:_MOST_SHOWN])
        more = f" and {len(strangers) - _MOST_SHOWN} more" if len(strangers) > _MOST_SHOWN else ""
        raise IntegrityError(
            f"the bundle holds what was never signed: {names}{more}",
            where=str(folder),
            hint=f"move these away, or verify {BUNDLE_NAME} alone",
        )


@contextlib.contextmanager
def _at(path: Path) -> Iterator[None]:
    """Name the place in refusals, and turn what the operating system refuses into one as well."""
    try:
        yield
    except IntegrityError as error:
        error.where = f"{path}#{error.where}" if error.where else str(path)  # a place inside: JSON pointer
        raise
    except OSError as error:
        raise IntegrityError(
            f"cannot read what should be verified: {(error.strerror or 'unknown reason').lower()}", where=str(path)
        ) from error
