"""Ciphertexts and keys of the wrong shape are refused when they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns, SeededKey, SeededKeys, most_dropped_bits
from wardline.he.parameters import Parameters, find_primes

PRIMES = find_primes(2048, (18, 18, 18))
BFV = Parameters(scheme="bfv", degree=2048, moduli=PRIMES, plain_modulus=16)
CKKS = Parameters(scheme="ckks", degree=2048, moduli=PRIMES[:2], special=PRIMES[2])


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.uint32)


def test_a_ciphertext_knows_its_limbs() -> None:
    for limbs in (1, 2, 3):
        assert Ciphertext(parameters=BFV, parts=_zeros(2, limbs, 2048), form="coefficients").limbs == limbs


@pytest.mark.parametrize(
    "change",
    [
        {"parts": _zeros(1, 3, 2048)},
        {"parts": _zeros(4, 3, 2048)},
        {"parts": _zeros(2, 4, 2048)},
        {"parts": _zeros(2, 0, 2048)},
        {"parts": _zeros(2, 3, 1024)},
        {"parts": _zeros(2, 2048)},
        {"parts": np.zeros((2, 3, 2048), dtype=np.uint64)},
        {"form": "ntt"},
        {"scale": 2.0},
        {"scale": float("nan")},
        {"scale": 0.0},
    ],
    ids=range(11),
)
def test_another_ciphertext_is_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {"parameters": BFV, "parts": _zeros(2, 3, 2048), "form": "coefficients"}
    with pytest.raises(ValueError):
        Ciphertext(**{**good, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"c0": _zeros(2, 4, 2048)},
        {"c0": _zeros(2, 3, 1024)},
        {"c0": np.zeros((2, 3, 2048), dtype=np.int64)},
        {"c0": _zeros(0, 3, 2048), "seeds": np.zeros((0, 64), np.uint8)},
        {"seeds": np.zeros((1, 64), np.uint8)},
        {"seeds": np.zeros((2, 63), np.uint8)},
        {"seeds": np.zeros((2, 64), np.int8)},
        {"dropped_bits": -1},
        {"dropped_bits": 10},
        {"dropped_bits": 1, "form": "evaluations"},
        {"form": "other"},
    ],
    ids=range(11),
)
def test_other_columns_are_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "parameters": BFV,
        "seeds": np.zeros((2, 64), np.uint8),
        "c0": _zeros(2, 3, 2048),
        "form": "coefficients",
        "dropped_bits": 9,
    }
    assert most_dropped_bits(BFV) == 9
    found = SeededColumns(**good)
    assert (len(found), found.limbs) == (2, 3)
    with pytest.raises(ValueError):
        SeededColumns(**{**good, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"public": _zeros(2, 3, 2048)},
        {"public": _zeros(1, 2, 2048)},
        {"relinearisation": _zeros(2, 2, 2, 2048)},
        {"relinearisation": _zeros(3, 2, 3, 2048)},
        {"galois": {3: _zeros(2, 2, 3, 1024)}},
        {"galois": {2: _zeros(2, 2, 3, 2048)}},
        {"galois": {1: _zeros(2, 2, 3, 2048)}},
        {"galois": {4097: _zeros(2, 2, 3, 2048)}},
        {"parameters": Parameters(scheme="ckks", degree=2048, moduli=PRIMES[:2])},
    ],
    ids=range(9),
)
def test_other_keys_are_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "parameters": CKKS,
        "public": _zeros(2, 2, 2048),
        "relinearisation": _zeros(2, 2, 3, 2048),
        "galois": {3: _zeros(2, 2, 3, 2048)},
    }
    EvaluationKeys(**good)
    with pytest.raises(ValueError):
        EvaluationKeys(**{**good, **change})


def _key(limbs: int = 3, **changes: Any) -> SeededKey:
    return SeededKey(**{"seeds": np.zeros((2, 64), np.uint8), "c0": _zeros(2, limbs, 2048), **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"public": _zeros(2, 3, 2048)},
        {"relinearisation": _key(2)},
        {"relinearisation": _key(seeds=np.zeros((3, 64), np.uint8))},
        {"relinearisation": _key(seeds=np.zeros((2, 64), np.int8))},
        {"galois": {3: _key(4)}},
        {"galois": {4: _key()}},
        {"galois": {-3: _key()}},
        {"parameters": Parameters(scheme="ckks", degree=2048, moduli=PRIMES[:2])},
    ],
    ids=range(8),
)
def test_other_seeded_keys_are_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "parameters": CKKS,
        "public": _zeros(2, 2, 2048),
        "relinearisation": _key(),
        "galois": {3: _key()},
    }
    SeededKeys(**good)
    with pytest.raises(ValueError):
        SeededKeys(**{**good, **change})
