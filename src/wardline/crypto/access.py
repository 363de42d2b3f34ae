"""Where a signing key may come from: an encrypted file, the environment, or a file descriptor."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from wardline.core import KeyAccessError
from wardline.crypto.keyfiles import MAX_KEY_FILE_BYTES, decrypt_private_key, parse_private_key, public_half
from wardline.crypto.keys import SigningKey

KEY_VARIABLE = "WARDLINE_PRIVATE_KEY"
PASSPHRASE_VARIABLE = "WARDLINE_PASSPHRASE"  # noqa: S105 (the name of a variable, not a passphrase)


def open_signing_key(
    path: Path | None = None,
    *,
    private_key_fd: int | None = None,
    passphrase_fd: int | None = None,
    prompt: Callable[[], str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> SigningKey:
    """Open the one signing key that was given.

    What is said expressly counts more than the environment: `path` or `private_key_fd`, and only if both
    are absent the variable ``WARDLINE_PRIVATE_KEY`` (unencrypted PEM text). The passphrase of an encrypted
    file comes from `passphrase_fd`, else from ``WARDLINE_PASSPHRASE``, else from `prompt`.

    Args:
        path: a private key file; unencrypted PEM is accepted if nobody but the owner can read it.
        private_key_fd: descriptor to read unencrypted PEM text from, to its end. It stays open.
        passphrase_fd: descriptor to read the passphrase from, to its end; one newline at the end is dropped.
        prompt: asks a person for the passphrase; called at most once.
        environment: the variables; those of the process if None.

    Raises:
        KeyAccessError: if no key was given, two were, it cannot be read or opened, or others can read it.
            No message contains a part of a key or passphrase.
    """
    environment = os.environ if environment is None else environment
    if path is not None and private_key_fd is not None:
        raise KeyAccessError("two signing keys were given", hint="give a file or a descriptor, not both")
    if private_key_fd is not None:
        where = f"descriptor {private_key_fd}"
        return _parse(_read_secret(private_key_fd, where=where), where=where)
    if path is not None:
        data, readable_by_others = _read_file(path)
        if not data.startswith(b"-----BEGIN"):
            try:
                public_half(data)  # a file that is no key at all is refused before anybody types a passphrase
                passphrase = read_passphrase(passphrase_fd, environment=environment, prompt=prompt)
                return decrypt_private_key(data, passphrase=passphrase)
            except KeyAccessError as error:
                error.where = error.where or str(path)
                raise
        if readable_by_others:
            raise _too_open(str(path))
        return _parse(data, where=str(path))
    text = environment.get(KEY_VARIABLE, "")
    if text:
        return _parse(text.encode("utf-8", "replace"), where=KEY_VARIABLE)
    raise KeyAccessError(
        "no signing key was given",
        hint=f"give a key file with --key, or set {KEY_VARIABLE}; `wardline keys new` makes a pair",
    )


def read_passphrase(
    descriptor: int | None = None,
    *,
    prompt: Callable[[], str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """A passphrase from a descriptor, else from ``WARDLINE_PASSPHRASE``, else from a person.

    Args:
        descriptor: read to its end; one newline at the end is dropped.
        prompt: asks a person; called at most once.
        environment: the variables; those of the process if None.

    Raises:
        KeyAccessError: if there is none, or others can read the descriptor's file.
    """
    environment = os.environ if environment is None else environment
    if descriptor is not None:
        # Bytes that are not UTF-8 become surrogates, as they would in a variable; a strict decoder's error
        # would carry the whole passphrase with it.
        data = _read_secret(descriptor, where=f"descriptor {descriptor}")
        return data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if PASSPHRASE_VARIABLE in environment:
        return environment[PASSPHRASE_VARIABLE]
    if prompt is not None:
        return prompt()
    raise KeyAccessError(
        "a passphrase is needed and none was given",
        hint=f"set {PASSPHRASE_VARIABLE}, or hand it over on a descriptor",
    )


def _parse(data: bytes, *, where: str) -> SigningKey:
    # Replacing, since the error of a strict decoder would carry the secret; what was replaced fails as wrong text.
    try:
        return parse_private_key(data.decode("ascii", "replace"))
    except KeyAccessError as error:
        error.where = where
        raise


def _read_file(path: Path) -> tuple[bytes, bool]:
    try:
        # Not blocking: opening a named pipe would otherwise wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)  # of what was opened, not of what the name means a moment later
            if not stat.S_ISREG(status.st_mode):
                raise KeyAccessError("this is not a file", where=str(path), hint="hand it over on a descriptor")
            return _read_all(descriptor, where=str(path)), _others_can_read(status)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyAccessError(f"cannot read the key: {_reason(error)}", where=str(path)) from error


def _read_secret(descriptor: int, *, where: str) -> bytes:
    try:
        if _others_can_read(os.fstat(descriptor)):
            raise _too_open(where)
        return _read_all(descriptor, where=where)
    except OSError as error:
        raise KeyAccessError(f"cannot read the secret: {_reason(error)}", where=where) from error


def _read_all(descriptor: int, *, where: str) -> bytes:
    pieces, size = [], 0
    while piece := os.read(descriptor, MAX_KEY_FILE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_KEY_FILE_BYTES:
            raise KeyAccessError(f"more than {MAX_KEY_FILE_BYTES} bytes: this is no key", where=where)
    return b"".join(pieces)


def _others_can_read(status: os.stat_result) -> bool:
    # Pipes and terminals have mode bits too, but nobody else can open what only this process holds.
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o077)


def _too_open(where: str) -> KeyAccessError:
    return KeyAccessError(
        "others on this machine can read this secret", where=where, hint="chmod 600, and consider it known to them"
    )


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
