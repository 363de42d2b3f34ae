"""Fresh encryptions of zero under a public key: what makes an answer look like any other."""

from __future__ import annotations

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Form, Residues
from wardline.he.kernels.modular import add, lift_small, multiply
from wardline.he.kernels.sampling import binomial, ternary
from wardline.he.kernels.transform import to_coefficients, to_evaluations


def encryptions_of_zero(
    random: SecureRandom, public_key: Residues, *, count: int, moduli: tuple[int, ...], form: Form
) -> Residues:
    """Encryptions of zero, each (p0 u + e0, p1 u + e1) with a ternary u and binomial errors of its own.

    Args:
        random: where u and the errors come from.
        public_key: [2, limbs or more, degree] in NTT form: limbs beyond the moduli, such as the special one, are left
            out.
        count: how many.
        moduli: of the limbs.
        form: of the results.

    Returns:
        [count, 2, limbs, degree]. Added to a ciphertext they leave its message, and add noise of at most
        21 (2 degree + 1), typically 3.24 sqrt(4 degree / 3 + 1), since u times the key's error, e0, and e1 times the
        secret meet.

    Raises:
        ValueError: for a key of another shape.

    Guarantee: under the ring-LWE assumption for these parameters they cannot be told from uniform polynomials by
    whoever knows the public key alone. The owner of the secret key sees their noise, which depends on nothing but
    the key and `random`.

    References: Lyubashevsky, Peikert, Regev 2010; Fan and Vercauteren 2012, section 3.
    """
    if public_key.ndim != 3 or public_key.shape[0] != 2 or public_key.shape[1] < len(moduli) or count < 0:
        raise ValueError("a public key is [2, limbs, degree] with a limb for each modulus, and count at least 0")
    degree = public_key.shape[2]
    key = np.ascontiguousarray(public_key[:, : len(moduli)])
    u = lift_small(ternary(random, count * degree).reshape(count, degree), moduli=moduli)
    spread = to_evaluations(u, moduli=moduli)
    errors = lift_small(binomial(random, count * 2 * degree).reshape(count, 2, degree), moduli=moduli)
    both = np.repeat(spread[:, None], 2, axis=1)
    products = multiply(both, key, moduli=moduli)
    if form == "coefficients":
        return add(to_coefficients(products, moduli=moduli), errors, moduli=moduli)
    return add(products, to_evaluations(errors, moduli=moduli), moduli=moduli)
