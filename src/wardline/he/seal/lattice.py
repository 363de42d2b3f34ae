"""What a client needs of a library of lattice cryptography, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKeys
from wardline.he.parameters import Parameters

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Lattice(Protocol):
    """Everything that touches one secret key. `wardline.he.seal.bridge.SealLattice` is the one that there is.

    What comes out as public (keys for the server, ciphertexts) follows SEAL's conventions: the order of the
    evaluations, the layout of switching keys, and how a seed becomes a uniform polynomial.
    """

    @property
    def parameters(self) -> Parameters:
        """What the secret key belongs to."""
        ...

    def evaluation_keys(
        self, *, relinearisation: bool = False, steps: Sequence[int] = (), elements: Sequence[int] = ()
    ) -> SeededKeys:
        """Fresh public keys for the server: to switch after products, rotations by `steps`, and X -> X^g."""
        ...

    def encrypt_coefficients(self, values: Integers) -> SeededColumns:
        """BFV: each row of integers as the coefficients of one plaintext, encrypted."""
        ...

    def encrypt_slots(self, values: Floats, *, scale: float, limbs: int | None = None) -> SeededColumns:
        """CKKS: each row of real numbers as the slots of one plaintext, encrypted."""
        ...

    def decrypt_coefficients(self, ciphertexts: Sequence[Ciphertext]) -> Integers:
        """BFV: the coefficients of each plaintext, centred around 0."""
        ...

    def decrypt_slots(self, ciphertexts: Sequence[Ciphertext]) -> Floats:
        """CKKS: the real parts of each plaintext's slots."""
        ...

    def decrypt_polynomials(self, ciphertexts: Sequence[Ciphertext]) -> Floats:
        """CKKS: each plaintext's coefficients, divided by its scale."""
        ...
