"""Slots and plaintexts: SEAL's encoder and sums as the oracle, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.kernels import slots
from wardline.he.parameters import Parameters, find_primes

PRIMES = find_primes(4096, (25, 27, 25, 31))
BFV = Parameters(scheme="bfv", degree=4096, moduli=PRIMES[:3], special=PRIMES[3], plain_modulus=40961)


@pytest.mark.parametrize(("degree", "plain"), [(1024, 12289), (4096, 40961), (8192, find_primes(8192, (31,))[0])])
def test_slots_come_back_and_multiply_slot_by_slot(degree: int, plain: int) -> None:
    generator = np.random.default_rng(2)
    values = generator.integers(-(plain // 2), plain // 2 + 1, (3, degree))
    coefficients = slots.to_coefficients(values, plain_modulus=plain)
    assert (np.abs(coefficients) <= plain // 2).all()
    assert (slots.from_coefficients(coefficients, plain_modulus=plain) == values).all()
    # By the definition, for one coefficient: X times the polynomial turns it by one place, with a sign.
    turned = np.concatenate([-coefficients[:, -1:], coefficients[:, :-1]], axis=1)
    x = np.zeros(degree, dtype=np.int64)
    x[1] = 1
    factors = slots.from_coefficients(x, plain_modulus=plain).astype(object)
    wanted = (values.astype(object) * factors) % plain
    assert (slots.from_coefficients(turned, plain_modulus=plain) % plain == wanted).all()


def test_moduli_without_slots_are_refused() -> None:
    values = np.zeros(4096, dtype=np.int64)
    for plain in (40960, 40961 * 8193, 1 << 40, 12289 * 3):
        with pytest.raises(ValueError, match="no slots"):
            slots.to_coefficients(values, plain_modulus=plain)
    with pytest.raises(TypeError):
        slots.from_coefficients(values.astype(np.int32), plain_modulus=40961)
    with pytest.raises(TypeError):
        slots.scaled(values.astype(np.uint32), BFV)
    with pytest.raises(ValueError, match="modulo less"):
        slots.scaled(values[:1024], BFV)


@pytest.mark.crosscheck
def test_everything_equals_seal(seal) -> None:
    oracle = seal(BFV)
    encoder = oracle.seal.BatchEncoder(oracle.context)
    generator = np.random.default_rng(3)
    values = generator.integers(0, 40961, (2, 4096))
    plain, other, cipher = oracle.seal.Plaintext(), oracle.seal.Plaintext(), oracle.seal.Ciphertext()
    encoder.encode(values[0].tolist(), plain)
    encoder.encode(values[1].tolist(), other)
    coefficients = slots.to_coefficients(values, plain_modulus=40961)
    for mine, theirs in zip(coefficients, (plain, other), strict=True):
        assert [theirs[i] for i in range(4096)] == (mine % 40961).tolist()
    oracle.encryptor.encrypt(plain, cipher)
    parts, _ = oracle.opened(cipher)
    made = oracle.seal.Ciphertext()
    oracle.evaluator.add_plain(cipher, other, made)
    assert (oracle.opened(made)[0] == slots.add_plain(parts, coefficients[1], BFV)).all()
    both = slots.add_plain(np.stack([parts, parts]), coefficients[::-1].copy(), BFV)
    assert (both[0] == slots.add_plain(parts, coefficients[1], BFV)).all()
