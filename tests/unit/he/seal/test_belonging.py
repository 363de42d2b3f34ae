"""Public keys and the secret key that they were made from."""

from __future__ import annotations

import pytest

from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.belonging import belong
from wardline.he.seal.bridge import SealLattice

BFV = Parameters(scheme="bfv", degree=4096, moduli=find_primes(4096, (25, 25, 25)), plain_modulus=1 << 48)
SLOTS = Parameters(scheme="bfv", degree=4096, moduli=find_primes(4096, (31, 31)), plain_modulus=65537)
CKKS = Parameters(scheme="ckks", degree=4096, moduli=find_primes(4096, (31, 26)))


@pytest.mark.parametrize("parameters", [BFV, SLOTS, CKKS], ids=["coefficients", "slots", "ckks"])
def test_keys_are_told_from_another_partys(parameters: Parameters) -> None:
    own, other = SealLattice.generate(parameters), SealLattice.generate(parameters)
    assert belong(own.evaluation_keys(), own)
    assert belong(own.evaluation_keys(), own), "fresh keys of the same secret, with another error"
    assert not belong(other.evaluation_keys(), own)


def test_keys_of_other_parameters_do_not_belong() -> None:
    assert not belong(SealLattice.generate(CKKS).evaluation_keys(), SealLattice.generate(BFV))
