"""Whether public keys belong to a secret one: scores under keys of another decrypt to nonsense that looks right."""

from __future__ import annotations

import numpy as np

from wardline.he.ciphertext import Ciphertext, SeededKeys
from wardline.he.kernels.transform import to_coefficients
from wardline.he.seal.lattice import Lattice

_LARGEST = 1 << 16
"""Errors of a public key are at most 21 in size; what another secret makes of it is spread over the whole modulus."""


def belong(keys: SeededKeys, lattice: Lattice) -> bool:
    """Whether public keys were made from the secret key of a lattice.

    A public key encrypts zero, so its own secret decrypts it to nothing but its error. Keys for switching are not
    looked at.

    Args:
        keys: of any origin.
        lattice: the secret key.
    """
    parameters = lattice.parameters
    if keys.parameters != parameters:
        return False
    if parameters.scheme == "ckks":
        whole = Ciphertext(parameters=parameters, parts=keys.public, form="evaluations")
        return bool(np.abs(lattice.decrypt_polynomials([whole])).max() < _LARGEST)
    plain = to_coefficients(keys.public, moduli=parameters.moduli)
    whole = Ciphertext(parameters=parameters, parts=plain, form="coefficients")
    # Decrypting multiplies by the plain modulus over the modulus, which leaves of an error nothing but rounding.
    return not lattice.decrypt_coefficients([whole]).any()
