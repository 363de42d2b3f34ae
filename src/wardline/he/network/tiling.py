"""Fewer rows than a batch holds: rows that stand in all slots by turns, and an answer cut down to them.

With r a power of two, slots of CKKS that repeat with period r are those of a polynomial in Y = X^(N / 2r), N being the
ring's degree: only every (N / 2r)-th coefficient is not 0. Of any other polynomial these coefficients are the mean over
the repetitions. Real slots make them antisymmetric, Y^(2r - k) having minus the coefficient of Y^k, so the first r of
them say everything. Hence a server that sets all other coefficients of c0 to 0 gives away r real numbers, and no more:
what decrypts at the other places is a coefficient of c1 s, which the key's owner can make from c1 without the message.

References: Gentry, Halevi, Peikert, Smart 2013 (Field switching in BGV-style homomorphic encryption), section 3, for
the trace onto a subring.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wardline.he.ciphertext import Ciphertext
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.network.stages import Floats


def period(rows: int) -> int:
    """The power of two, no less than so many rows, with which they repeat."""
    return 1 << max(rows - 1, 0).bit_length()


def charged(rows: int, *, slots: int) -> int:
    """How many rows an answer tells of: full batches, and the period of what is left.

    Args:
        rows: at least 1.
        slots: rows of a full batch, a power of two.
    """
    full, left = divmod(rows, slots)
    return full * slots + (period(left) if left else 0)


def tiled(columns: Floats, slots: int) -> Floats:
    """Numbers of up to `slots` rows in all slots: [inputs, rows] to [inputs, slots].

    Each row stands at the places that are equal to its own modulo the period; places of no row hold 0.
    """
    rows = columns.shape[1]
    one = np.zeros((len(columns), period(rows)))
    one[:, :rows] = columns
    return np.tile(one, slots // one.shape[1])


def withheld(one: Ciphertext, rows: int) -> Ciphertext:
    """An answer that tells of so many rows, rounded up to their period, and nothing else.

    Args:
        one: fresh and flooded, of CKKS, by evaluations.
        rows: from 1 to half the degree.

    Guarantee: the owner of the secret key learns one real number for each row of the period: the means over its
    repetitions, which are the outputs where the slots repeat as `tiled` has them. In a full batch nothing is withheld,
    and an owner that put complex numbers into slots learns two numbers a row. The second part must be that of a fresh
    encryption.
    """
    degree = one.parameters.degree
    repeated = period(rows)
    if not 1 <= rows <= degree // 2:
        raise ValueError(f"rows must be from 1 to {degree // 2}")
    if repeated == degree // 2:
        return one
    moduli = one.parameters.moduli[: one.limbs]
    whole = to_coefficients(np.ascontiguousarray(one.parts[0]), moduli=moduli)
    kept = np.zeros_like(whole)
    places = np.arange(repeated) * (degree // (2 * repeated))
    kept[:, places] = whole[:, places]
    parts = one.parts.copy()
    parts[0] = to_evaluations(kept, moduli=moduli)
    return replace(one, parts=parts)


def slots_of(polynomials: Floats, rows: int) -> Floats:
    """The slots that the kept coefficients stand for: [count, degree] to [count, rows].

    Other coefficients are not looked at: a decrypted answer holds anything there.

    Args:
        polynomials: coefficients.
        rows: below the number of slots' half, or at least with a period that is.
    """
    count, degree = polynomials.shape
    repeated = period(rows)
    stride = degree // (2 * repeated)
    small = np.zeros((count, 2 * repeated))
    small[:, :repeated] = polynomials[:, : repeated * stride : stride]
    small[:, repeated + 1 :] = -small[:, repeated - 1 : 0 : -1]
    # Values at the odd powers of a root of unity of order 4 r; slot j is the one at the power 3^j, as in SEAL.
    turned = small * np.exp(1j * np.pi / (2 * repeated) * np.arange(2 * repeated))
    values = np.fft.ifft(turned, axis=1).real * (2 * repeated)
    powers = np.ones(rows, dtype=np.int64)
    for place in range(1, rows):
        powers[place] = powers[place - 1] * 3 % (4 * repeated)
    return np.ascontiguousarray(values[:, (powers - 1) // 2])
