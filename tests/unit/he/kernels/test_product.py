"""Products of BFV ciphertexts: equal to big integers, bit for bit, and decrypting as SEAL's do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.he.kernels import product, switching
from wardline.he.kernels.modular import reduce_signed
from wardline.he.kernels.radix import integers, to_digits
from wardline.he.parameters import Parameters, find_primes

PRIMES = find_primes(4096, (25, 27, 25, 31))
BFV = Parameters(scheme="bfv", degree=4096, moduli=PRIMES[:3], special=PRIMES[3], plain_modulus=40961)


def whole(residues: np.ndarray, moduli: tuple[int, ...]) -> list[int]:
    """The centred integers of residues [limbs, degree]."""
    modulus = math.prod(moduli)
    return [
        one - modulus if one > modulus // 2 else one
        for one in integers(to_digits(residues, moduli=moduli), moduli=moduli)
    ]


def negacyclic(left: list[int], right: list[int], bits: int) -> list[int]:
    """The product modulo X^n + 1, by one product of two huge integers."""
    size = bits + 2
    packed = [sum(one << (size * i) for i, one in enumerate(values)) for values in (left, right)]
    result, places = packed[0] * packed[1], []
    for _ in range(2 * len(left)):
        low = result & ((1 << size) - 1)
        low -= (low >> (size - 1)) << size
        places.append(low)
        result = (result - low) >> size
    return [places[i] - places[i + len(left)] for i in range(len(left))]


@pytest.mark.parametrize(
    ("degree", "bits", "plain"), [(1024, (27,), 3), (2048, (27, 26), 40961), (2048, (20, 31), (1 << 49) + 7)]
)
def test_products_are_those_of_integers(residues, degree: int, bits: tuple[int, ...], plain: int) -> None:
    parameters = Parameters(scheme="bfv", degree=degree, moduli=find_primes(degree, bits), plain_modulus=plain)
    moduli, modulus = parameters.moduli, math.prod(parameters.moduli)
    left, right = residues(degree, moduli, 2, 2), residues(degree, moduli, 2, 2)
    # The largest that a sum can be: all coefficients at the end of their range.
    ends = reduce_signed(np.full((1, degree), modulus // 2, dtype=np.int64), moduli=moduli)
    left[1], right[1] = ends, ends
    found = product.multiply_bfv(left, right, parameters)
    for row in range(2):
        a, b = [whole(part, moduli) for part in left[row]], [whole(part, moduli) for part in right[row]]
        size = 2 * modulus.bit_length() + degree.bit_length()
        first, last = negacyclic(a[0], b[0], size), negacyclic(a[1], b[1], size)
        cross = zip(negacyclic(a[0], b[1], size), negacyclic(a[1], b[0], size), strict=True)
        for place, values in enumerate((first, [one + other for one, other in cross], last)):
            wanted = [(2 * plain * one + modulus) // (2 * modulus) % modulus for one in values]
            assert integers(to_digits(found[row, place], moduli=moduli), moduli=moduli).tolist() == wanted
    assert (product.multiply_bfv(left, left, parameters) == product.multiply_bfv(left, left.copy(), parameters)).all()


def test_a_sum_of_products_is_scaled_once(residues) -> None:
    """It is off from the sum of scaled products by their rounding alone: at most half a unit a term, and its own."""
    terms = 5
    left, right = residues(4096, BFV.moduli, terms, 2), residues(4096, BFV.moduli, terms, 2)
    one, other = (product.extend(values, BFV, terms=terms) for values in (left, right))
    sums = np.zeros((1, 3, *one.shape[2:]), dtype=np.uint32)
    for term in range(terms):
        product.add_products(sums, one[term : term + 1], other[term : term + 1], BFV, terms=terms)
    together = product.scale_down(sums, BFV, terms=terms)[0]
    alone = product.multiply_bfv(left, right, BFV)
    moduli, modulus = BFV.moduli, math.prod(BFV.moduli)
    for place in range(3):
        wanted = sum(np.array(whole(alone[term, place], moduli), dtype=object) for term in range(terms))
        off = (np.array(whole(together[place], moduli), dtype=object) - wanted) % modulus
        assert max(min(int(one), modulus - int(one)) for one in off) <= (terms + 1) // 2


def test_what_cannot_be_multiplied_is_refused(residues) -> None:
    found = residues(4096, BFV.moduli, 2, 2)
    with pytest.raises(ValueError, match="count, 2"):
        product.multiply_bfv(residues(4096, BFV.moduli, 2, 3), found, BFV)
    with pytest.raises(ValueError, match="limbs"):
        product.multiply_bfv(found[:, :, :2], found[:, :, :2], BFV)
    with pytest.raises(ValueError, match="do not fit"):
        product.multiply_bfv(found, found[:1], BFV)
    with pytest.raises(TypeError):
        product.multiply_bfv(found.astype(np.uint64), found, BFV)
    ckks = Parameters(scheme="ckks", degree=4096, moduli=PRIMES[:3])
    with pytest.raises(ValueError, match="bfv"):
        product.multiply_bfv(found, found, ckks)
    with pytest.raises(ValueError, match="at least one"):
        product.second_base(BFV, 0)


@pytest.mark.crosscheck
def test_products_decrypt_as_those_of_seal(seal) -> None:
    oracle = seal(BFV)
    keys = oracle.seal.RelinKeys()
    oracle.generator.create_relin_keys(keys)
    (key,) = oracle.keys(keys)
    encoder = oracle.seal.BatchEncoder(oracle.context)
    generator = np.random.default_rng(1)
    values = generator.integers(0, 40961, (2, 4096))
    ciphers = []
    for row in values:
        plain, cipher = oracle.seal.Plaintext(), oracle.seal.Ciphertext()
        encoder.encode(row.tolist(), plain)
        oracle.encryptor.encrypt(plain, cipher)
        ciphers.append(cipher)
    theirs = oracle.seal.Ciphertext()
    oracle.evaluator.multiply(ciphers[0], ciphers[1], theirs)
    (left, fields), (right, _) = (oracle.opened(one) for one in ciphers)
    found = product.multiply_bfv(left[None], right[None], BFV)
    two = switching.relinearise(found, key, BFV, form="coefficients")[0]
    for parts in (found[0], two):
        made = oracle.made(parts, fields)
        # No more noise than SEAL's own product has.
        assert oracle.decryptor.invariant_noise_budget(made) >= oracle.decryptor.invariant_noise_budget(theirs) - 1
        plain = oracle.seal.Plaintext()
        oracle.decryptor.decrypt(made, plain)
        assert (np.array(encoder.decode_uint64(plain)) == values[0] * values[1] % 40961).all()
