"""Slots of CKKS and the polynomials that have them: what the server needs to multiply slots by numbers of its own.

Slot j of a real polynomial is its value at the power 3^j of exp(pi i / degree), as in SEAL; real slots belong to
polynomials whose coefficient k is minus that of degree - k.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from wardline.he.network.stages import Floats

Integers = npt.NDArray[np.int64]


def polynomials_of(slots: Floats, *, scale: float) -> Integers:
    """Real slots times a scale as rounded coefficients: [..., degree / 2] to [..., degree].

    Raises:
        OverflowError: for coefficients of 2^52 or more, which a double does not hold exactly.
    """
    degree = 2 * slots.shape[-1]
    places, turns = _roots(degree)
    values = np.zeros((*slots.shape[:-1], degree))
    values[..., places] = slots
    values[..., degree - 1 - places] = slots  # the conjugate roots
    found = (np.fft.fft(values) * turns.conj()).real * (scale / degree)
    if found.size and not float(np.abs(found).max()) < 2.0**52:
        raise OverflowError("a plaintext's coefficients are too large to be rounded exactly")
    return np.asarray(np.rint(found), dtype=np.int64)


def slots_of(polynomials: Integers, *, scale: float) -> Floats:
    """The real slots of polynomials over a scale: [..., degree] to [..., degree / 2]."""
    degree = polynomials.shape[-1]
    places, turns = _roots(degree)
    values = np.fft.ifft(polynomials * turns) * degree
    return np.asarray(values[..., places].real / scale, dtype=np.float64)


@lru_cache(maxsize=8)
def _roots(degree: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.complex128]]:
    """For each slot which of the odd powers of the root it is, and the root's powers."""
    powers = np.ones(degree // 2, dtype=np.int64)
    for place in range(1, len(powers)):
        powers[place] = powers[place - 1] * 3 % (2 * degree)
    return (powers - 1) // 2, np.exp(1j * np.pi / degree * np.arange(degree))
