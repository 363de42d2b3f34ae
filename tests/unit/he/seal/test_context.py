"""SEAL is set up so that all of our moduli carry ciphertexts, and its own prime stays with it."""

from __future__ import annotations

import pytest

from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.context import Context


def test_a_prime_that_nobody_sees_is_added_where_no_keys_are_switched() -> None:
    moduli = find_primes(4096, (25, 25, 25))
    context = Context(Parameters(scheme="bfv", degree=4096, moduli=moduli, plain_modulus=1 << 45))
    assert context.primes == (*moduli, 40961)
    assert context.key_level.limbs == 4
    # Two limbs of 50 bits bear a plain modulus of 45; one limb does not.
    assert sorted(context.levels) == [2, 3]
    assert len({level.name for level in (*context.levels.values(), context.key_level)}) == 3


def test_the_prime_is_another_than_the_moduli() -> None:
    context = Context(Parameters(scheme="ckks", degree=4096, moduli=(40961, 65537)))
    assert context.primes == (40961, 65537, 114689)


def test_the_prime_is_another_than_the_plain_modulus() -> None:
    moduli = find_primes(4096, (25, 25, 25))
    context = Context(Parameters(scheme="bfv", degree=4096, moduli=moduli, plain_modulus=40961))
    assert context.primes == (*moduli, 65537)


def test_the_special_prime_is_the_last() -> None:
    primes = find_primes(8192, (31, 26, 31))
    context = Context(Parameters(scheme="ckks", degree=8192, moduli=primes[:2], special=primes[2]))
    assert context.primes == primes
    assert sorted(context.levels) == [1, 2]


def test_all_bits_that_the_table_allows_can_be_used() -> None:
    moduli = find_primes(4096, (27, 27, 27, 28))
    parameters = Parameters(scheme="ckks", degree=4096, moduli=moduli)
    assert parameters.bits == 109
    assert sorted(Context(parameters).levels) == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="128 bits"):
        Parameters(scheme="ckks", degree=4096, moduli=(*moduli, 40961))
