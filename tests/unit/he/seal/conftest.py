"""Keys that the tests of this folder share: making them takes longer than using them."""

from __future__ import annotations

import pytest

from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.bridge import SealLattice

BFV = Parameters(scheme="bfv", degree=4096, moduli=find_primes(4096, (25, 25, 25)), plain_modulus=1 << 45)
_PRIMES = find_primes(8192, (31, 26, 26, 31))
CKKS = Parameters(scheme="ckks", degree=8192, moduli=_PRIMES[:3], special=_PRIMES[3])


@pytest.fixture(scope="session")
def integers() -> SealLattice:
    """BFV with coefficients of 45 bits."""
    return SealLattice.generate(BFV)


@pytest.fixture(scope="session")
def reals() -> SealLattice:
    """CKKS with a special prime."""
    return SealLattice.generate(CKKS)
