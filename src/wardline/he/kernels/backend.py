"""Where the residue products of a network are computed: the few operations that take nearly all of its time.

Backends agree bit for bit, since all of it is exact arithmetic. Arrays are numpy's on both sides, so that a backend can
be exchanged without a word about it elsewhere; one that computes on an accelerator moves them there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.columns import Places, add_sums, products
from wardline.he.kernels.dropping import drop
from wardline.he.kernels.switching import relinearise
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.parameters import Parameters


@runtime_checkable
class Backend(Protocol):
    """The residue products of a network. Several threads may call one backend at once.

    Guarantee: results are those of the functions that `NumbaBackend` names, for the same arguments and with the same
    errors, to the last bit.
    """

    def add_sums(
        self,
        target: Residues,
        source: Residues,
        weights: npt.NDArray[np.int64],
        *,
        places: tuple[Places, Places],
        prime: int,
        fresh: bool,
    ) -> None:
        """As `wardline.he.kernels.columns.add_sums`."""
        ...

    def products(
        self,
        left: Residues,
        right: Residues,
        *,
        multiples: Sequence[tuple[Residues, int]] = (),
        moduli: tuple[int, ...],
    ) -> Residues:
        """As `wardline.he.kernels.columns.products`."""
        ...

    def drop(self, polynomials: Residues, *, moduli: tuple[int, ...], count: int) -> Residues:
        """As `wardline.he.kernels.dropping.drop`."""
        ...

    def relinearise(self, parts: Residues, key: Residues, parameters: Parameters) -> Residues:
        """As `wardline.he.kernels.switching.relinearise`, in NTT form."""
        ...

    def to_evaluations(self, polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
        """As `wardline.he.kernels.transform.to_evaluations`."""
        ...

    def to_coefficients(self, polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
        """As `wardline.he.kernels.transform.to_coefficients`."""
        ...


class NumbaBackend:
    """This processor, by the package's own kernels: the default."""

    def add_sums(
        self,
        target: Residues,
        source: Residues,
        weights: npt.NDArray[np.int64],
        *,
        places: tuple[Places, Places],
        prime: int,
        fresh: bool,
    ) -> None:
        """See `Backend`."""
        add_sums(target, source, weights, places=places, prime=prime, fresh=fresh)

    def products(
        self,
        left: Residues,
        right: Residues,
        *,
        multiples: Sequence[tuple[Residues, int]] = (),
        moduli: tuple[int, ...],
    ) -> Residues:
        """See `Backend`."""
        return products(left, right, multiples=multiples, moduli=moduli)

    def drop(self, polynomials: Residues, *, moduli: tuple[int, ...], count: int) -> Residues:
        """See `Backend`."""
        return drop(polynomials, moduli=moduli, count=count)

    def relinearise(self, parts: Residues, key: Residues, parameters: Parameters) -> Residues:
        """See `Backend`."""
        return relinearise(parts, key, parameters, form="evaluations")

    def to_evaluations(self, polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
        """See `Backend`."""
        return to_evaluations(polynomials, moduli=moduli)

    def to_coefficients(self, polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
        """See `Backend`."""
        return to_coefficients(polynomials, moduli=moduli)


NUMBA: Backend = NumbaBackend()
