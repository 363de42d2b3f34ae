"""A secret key's file opens with its passphrase, and with nothing else; and nothing else comes near SEAL."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import KeyAccessError, WorkspaceError, canonical_json
from wardline.core.errors import IntegrityError
from wardline.crypto import KdfCost
from wardline.he.ciphertext import Ciphertext
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.radix import centred
from wardline.he.kernels.transform import to_coefficients
from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keyfile import decrypt_secret_key, encrypt_secret_key, read_secret_key, write_secret_key
from wardline.he.seal.keys import SecretKey, unsafe_export_residues, unsafe_import_residues

CHEAP = KdfCost(memory_kib=19_456, iterations=1, lanes=1)
PASSPHRASE = "correct horse battery staple"
PARAMETERS = Parameters(scheme="bfv", degree=1024, moduli=find_primes(1024, (26,)), plain_modulus=16)
KEY = SecretKey.generate(PARAMETERS)
FILE = encrypt_secret_key(KEY, passphrase=PASSPHRASE, cost=CHEAP)


def _changed(**changes: Any) -> bytes:
    value = json.loads(FILE)
    for name, change in changes.items():
        value[name] = change(value[name])
    return canonical_json(value) + b"\n"


def test_a_key_comes_back_and_decrypts(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key.json"
    write_secret_key(path, KEY, passphrase=PASSPHRASE, cost=CHEAP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_secret_key(path, passphrase=PASSPHRASE)
    assert (found.id, found.parameters) == (KEY.id, PARAMETERS)
    values = np.arange(-8, 8, dtype=np.int64).reshape(1, -1)
    columns = SealLattice(KEY).encrypt_coefficients(values)
    parts = np.stack([columns.c0[0], expand(columns.seeds, PARAMETERS)[0]])
    one = Ciphertext(parameters=PARAMETERS, parts=parts, form="coefficients")
    assert (SealLattice(found).decrypt_coefficients([one])[0, :16] == values).all()
    with pytest.raises(KeyAccessError, match="never overwritten"):
        write_secret_key(path, KEY, passphrase=PASSPHRASE, cost=CHEAP)


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_every_kind_of_key_comes_back(scheme: Any) -> None:
    primes = find_primes(2048, (18, 18, 18))
    parameters = Parameters(
        scheme=scheme, degree=2048, moduli=primes[:2], special=primes[2], plain_modulus=64 if scheme == "bfv" else None
    )
    key = SecretKey.generate(parameters)
    found = decrypt_secret_key(encrypt_secret_key(key, passphrase=PASSPHRASE, cost=CHEAP), passphrase=PASSPHRASE)
    assert (unsafe_export_residues(found) == unsafe_export_residues(key)).all()


def test_a_secret_is_ternary_and_as_drawn() -> None:
    primes = KEY.context.primes
    secret = centred(to_coefficients(unsafe_export_residues(KEY), moduli=primes), moduli=primes)
    counts = [(secret == value).sum() for value in (-1, 0, 1)]
    assert sum(counts) == 1024
    # Each count is binomial, n = 1024 and p = 1/3, with a standard deviation of 15.1. One of them is 91 or more away
    # with a probability of at most 6 exp(-2 * 91^2 / 1024) = 6e-7 (Hoeffding 1963). Zeros alone, or two values in
    # place of three, are farther away.
    assert all(abs(count - 1024 / 3) < 91 for count in counts)
    assert any(abs(count - 1024 / 3) >= 91 for count in (512, 512, 0)), "the control"


def test_what_is_in_the_clear_is_a_name_and_parameters() -> None:
    value = json.loads(FILE)
    assert set(value) == {"aead", "ciphertext", "commitment", "format", "id", "kdf", "nonce", "parameters"}
    assert (value["format"], value["id"]) == ("wardline encryption key/1", KEY.id)
    secret = unsafe_export_residues(KEY).astype("<u4").tobytes()
    assert secret[:32] not in FILE
    assert base64.b64encode(secret)[:32] not in FILE
    again = json.loads(encrypt_secret_key(KEY, passphrase=PASSPHRASE, cost=CHEAP))
    assert all(again[name] != value[name] for name in ("ciphertext", "commitment", "nonce"))


@pytest.mark.parametrize("passphrase", ["", "correct horse battery stapl", "Correct horse battery staple"])
def test_a_wrong_passphrase_opens_nothing(passphrase: str) -> None:
    with pytest.raises(KeyAccessError, match="wrong"):
        decrypt_secret_key(FILE, passphrase=passphrase)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(KeyAccessError, match="12"):
        encrypt_secret_key(KEY, passphrase="x" * 11, cost=CHEAP)


def _flip(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"ciphertext": _flip},
        {"commitment": _flip},
        {"nonce": _flip},
        {"ciphertext": lambda text: base64.b64encode(base64.b64decode(text)[:-1]).decode()},
        {"id": lambda text: text[::-1]},
        {"id": lambda text: text.upper() + "A"},
        {"id": lambda _: 7},
        {"format": lambda _: "wardline encryption key/2"},
        {"aead": lambda _: "AES-128-GCM"},
        {"kdf": lambda kdf: {**kdf, "memory_kib": 262_145}},
        {"kdf": lambda kdf: {**kdf, "salt": _flip(kdf["salt"])}},
        {"kdf": lambda kdf: {**kdf, "more": 1}},
        {"parameters": lambda found: {**found, "plain_modulus": 17}},
        {"parameters": lambda found: {**found, "degree": 2048}},
        {"parameters": lambda found: {**found, "moduli": []}},
        {"parameters": lambda _: None},
    ],
    ids=range(16),
)
def test_a_changed_file_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(KeyAccessError):
        decrypt_secret_key(_changed(**changes), passphrase=PASSPHRASE)


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    data = bytearray(FILE)
    data[place] ^= change
    with pytest.raises(KeyAccessError) as caught:
        decrypt_secret_key(bytes(data), passphrase=PASSPHRASE)
    assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, IntegrityError)


def test_places_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(KeyAccessError, match="no such file"):
        read_secret_key(tmp_path / "none", passphrase=PASSPHRASE)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(WorkspaceError):
        write_secret_key(tmp_path / "file" / "key", KEY, passphrase=PASSPHRASE, cost=CHEAP)
    with pytest.raises(KeyAccessError):
        read_secret_key(tmp_path / "file", passphrase=PASSPHRASE)


def test_residues_that_are_no_key_never_reach_seal() -> None:
    residues = unsafe_export_residues(KEY)
    high = residues.copy()
    high[0, 5] = KEY.context.primes[0]
    for wrong in (high, residues[:1], residues[:, :512]):
        with pytest.raises(IntegrityError):
            unsafe_import_residues(KEY.context, wrong, key_id=KEY.id)
