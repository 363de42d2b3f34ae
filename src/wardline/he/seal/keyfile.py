"""Files of secret keys, encrypted with a passphrase as the house's signing keys are.

The format is written down in ``docs/reference-format-he.md``.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from wardline.core import SecureRandom, canonical_json
from wardline.core.errors import IntegrityError, KeyAccessError, placed
from wardline.crypto.keyfiles import MIN_PASSPHRASE_CHARACTERS, KdfCost, write_new
from wardline.crypto.strict import decode_base64, encode_base64, exact_object, parse_canonical
from wardline.he.parameters import Parameters
from wardline.he.seal.context import Context
from wardline.he.seal.keys import ID_BYTES, SecretKey, unsafe_export_residues, unsafe_import_residues

MAX_KEY_FILE_BYTES = 8 * 1024 * 1024

_FORMAT = "wardline encryption key/1"
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES, _KEY_BYTES = 16, 12, 16, 32
_HEADER_KEYS = frozenset({"aead", "commitment", "format", "id", "kdf", "nonce", "parameters"})
_KDF_KEYS = frozenset({"iterations", "lanes", "memory_kib", "name", "salt"})


def write_secret_key(path: Path, key: SecretKey, *, passphrase: str, cost: KdfCost | None = None) -> None:
    """Write a secret key, encrypted, readable for its owner alone; a file that exists is never overwritten.

    Args:
        path: where.
        key: the key.
        passphrase: at least 12 characters; longer and unguessable is better than odd.
        cost: what one guess costs.

    Raises:
        KeyAccessError: if the passphrase is too short, or something stands there already.
        WorkspaceError: if it cannot be written.

    Guarantee: without the passphrase the file tells nothing but the key's name and parameters: AES-256-GCM under a key
    from Argon2id with a fresh salt. Every byte of the header is authenticated with it.
    """
    write_new(path, encrypt_secret_key(key, passphrase=passphrase, cost=cost or KdfCost()), mode=0o600)


def read_secret_key(path: Path, *, passphrase: str) -> SecretKey:
    """Read a file that `write_secret_key` wrote.

    Raises:
        KeyAccessError: if it cannot be read, is no such file or was changed, or the passphrase is wrong.
        MissingExtraError: if SEAL is not installed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise KeyAccessError(f"cannot read the secret key: {reason}", where=str(path)) from error
    with placed(path):
        return decrypt_secret_key(data, passphrase=passphrase)


def encrypt_secret_key(key: SecretKey, *, passphrase: str, cost: KdfCost) -> bytes:
    """The content of a secret key's file; see `write_secret_key`."""
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise KeyAccessError(
            f"the passphrase has fewer than {MIN_PASSPHRASE_CHARACTERS} characters",
            hint="take several random words; whoever copies the file can try passphrases at leisure",
        )
    random = SecureRandom()
    salt, nonce = random.bytes(_SALT_BYTES), random.bytes(_NONCE_BYTES)
    cipher, commitment = _cipher(passphrase, salt, cost)
    header = {
        "aead": "AES-256-GCM",
        "commitment": encode_base64(commitment),
        "format": _FORMAT,
        "id": key.id,
        "kdf": {
            "iterations": cost.iterations,
            "lanes": cost.lanes,
            "memory_kib": cost.memory_kib,
            "name": "argon2id",
            "salt": encode_base64(salt),
        },
        "nonce": encode_base64(nonce),
        "parameters": key.parameters.to_json(),
    }
    residues = unsafe_export_residues(key).astype("<u4")
    ciphertext = cipher.encrypt(nonce, residues.reshape(-1).data.cast("B"), canonical_json(header))
    residues.fill(0)
    return canonical_json({**header, "ciphertext": encode_base64(ciphertext)}) + b"\n"


def decrypt_secret_key(data: bytes, *, passphrase: str) -> SecretKey:
    """The key in the content of a secret key's file.

    Raises:
        KeyAccessError: if the passphrase is wrong, or the content is no such file or was changed.
        MissingExtraError: if SEAL is not installed.

    Guarantee: SEAL sees nothing of a file but residues that were authenticated and are below their primes.
    """
    try:
        header, parameters, cost = _read_header(data)
        shape = (len(parameters.moduli) + 1, parameters.degree)
        salt = _sized(header["kdf"]["salt"], _SALT_BYTES)
        nonce = _sized(header["nonce"], _NONCE_BYTES)
        wanted = _sized(header["commitment"], _KEY_BYTES)
        ciphertext = _sized(header.pop("ciphertext"), 4 * shape[0] * shape[1] + _TAG_BYTES)
        cipher, commitment = _cipher(passphrase, salt, cost)
        if not hmac.compare_digest(wanted, commitment):
            raise KeyAccessError("the passphrase is wrong, or the key file was changed")
        secret = cipher.decrypt(nonce, ciphertext, canonical_json(header))
        residues = np.frombuffer(secret, dtype="<u4").reshape(shape)
        return unsafe_import_residues(Context(parameters), residues, key_id=header["id"])
    except InvalidTag:
        raise KeyAccessError("the passphrase is wrong, or the key file was changed") from None
    except (IntegrityError, ValueError):
        # Without the cause: a parser's error may carry what it was given.
        raise _damaged() from None


def _read_header(data: bytes) -> tuple[dict[str, Any], Parameters, KdfCost]:
    if not data.endswith(b"}\n"):
        raise _damaged()
    value = parse_canonical(data[:-1], what="the key file", max_bytes=MAX_KEY_FILE_BYTES, max_depth=3)
    value = exact_object(value, _HEADER_KEYS | {"ciphertext"}, what="the key file")
    kdf = exact_object(value["kdf"], _KDF_KEYS, what="kdf")
    if (value["format"], value["aead"], kdf["name"]) != (_FORMAT, "AES-256-GCM", "argon2id"):
        raise KeyAccessError("the key file is of a kind or version that this program does not know")
    if not isinstance(value["id"], str) or len(value["id"]) != 2 * ID_BYTES or set(value["id"]) - set(_DIGITS):
        raise _damaged()
    try:
        cost = KdfCost(memory_kib=kdf["memory_kib"], iterations=kdf["iterations"], lanes=kdf["lanes"])
    except ValueError as error:
        raise KeyAccessError(f"the key file asks for too much or too little work: {error}") from None
    return value, Parameters.from_json(value["parameters"]), cost


_DIGITS = "0123456789abcdef"


def _damaged() -> KeyAccessError:
    return KeyAccessError(
        "this is no wardline encryption key file, or it was damaged",
        hint="take the copy that `wardline he keys` wrote, or make a new key",
    )


def _sized(text: object, size: int) -> bytes:
    data = decode_base64(text, what="a field of the key file")
    if len(data) != size:
        raise IntegrityError("a field of the key file has the wrong length")
    return data


def _cipher(passphrase: str, salt: bytes, cost: KdfCost) -> tuple[AESGCM, bytes]:
    """AES-GCM under one half of what Argon2id gives, and a digest of the other half.

    AES-GCM does not commit to its key: a crafted file may open under several passphrases. The digest does.
    """
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    kdf = Argon2id(
        salt=salt, length=2 * _KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    try:
        keys = kdf.derive(secret)
    except MemoryError:
        raise KeyAccessError(f"opening this key takes {cost.memory_kib // 1024} MiB of memory") from None
    return AESGCM(keys[:_KEY_BYTES]), hashlib.sha256(keys[_KEY_BYTES:]).digest()
