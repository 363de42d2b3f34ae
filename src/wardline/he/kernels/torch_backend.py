"""The residue products of a network by torch, for a processor with many more units than this one.

Everything is 64-bit integers, but for weighted sums: these are matrix products of 64-bit floating-point numbers, for
which accelerators have units of their own. Residues are split into digits so small that every sum stays below 2^53,
where such numbers are integers and no order of adding them matters. So results are those of the package's own kernels.
Arrays go to the device and back in every call, as 32-bit numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.extras import need
from wardline.he.ciphertext import Residues
from wardline.he.kernels.columns import Places, centred, check_products, check_sums
from wardline.he.kernels.modular import rows_of
from wardline.he.kernels.sums import DOUBLE_BITS, largest_sum
from wardline.he.kernels.transform import PERIOD, tables
from wardline.he.parameters import Parameters

Tensor = Any
"""A torch.Tensor: torch is imported when a backend is made."""

_RESIDUE_BITS = 31
_MOST_DIGIT_BITS = 16


class TorchBackend:
    """See `wardline.he.kernels.backend.Backend`.

    Args:
        device: as torch names it: ``cuda`` or ``cpu``, which is for tests, since the package's own kernels are faster.

    Raises:
        MissingExtraError: if torch is not installed.
        RuntimeError: if there is no such device.
    """

    def __init__(self, device: str = "cuda") -> None:
        self._torch = need("torch", extra="torch")
        self._device = self._torch.device(device)
        self._torch.zeros(1, device=self._device)  # fails here rather than in the middle of a batch
        self._key: tuple[Residues, Tensor] | None = None

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
        """See `wardline.he.kernels.columns.add_sums`."""
        check_sums(target, source, weights, places=places, prime=prime)
        torch, (into, of) = self._torch, places
        small = centred(weights, prime)
        bits = min(_MOST_DIGIT_BITS, DOUBLE_BITS - largest_sum(small).bit_length())
        factors = torch.from_numpy(small.astype(np.float64)).to(self._device)
        left = self._there(source[of])
        total = torch.zeros((len(into), target.shape[1]), dtype=torch.int64, device=self._device)
        if not fresh:
            total += self._there(target[into])
        for shift in range(0, _RESIDUE_BITS, bits):
            digits = ((left >> shift) & ((1 << bits) - 1)).to(torch.float64)
            sums = torch.remainder((factors @ digits).to(torch.int64), prime)
            total = torch.remainder(total + sums * ((1 << shift) % prime), prime)
        target[into] = self._back(total)

    def products(
        self,
        left: Residues,
        right: Residues,
        *,
        multiples: Sequence[tuple[Residues, int]] = (),
        moduli: tuple[int, ...],
    ) -> Residues:
        """See `wardline.he.kernels.columns.products`."""
        check_products(left, right, multiples, moduli)
        torch, primes = self._torch, self._column(moduli)
        a, b = self._there(left), self._there(right)
        cross = torch.remainder(a[0] * b[1], primes) + torch.remainder(a[1] * b[0], primes)
        out = torch.stack([torch.remainder(a[0] * b[0], primes), cross, torch.remainder(a[1] * b[1], primes)])
        for one, factor in multiples:
            own = self._column(tuple(factor % prime for prime in moduli))
            out[:2] += torch.remainder(self._there(one) * own, primes)
        return self._back(torch.remainder(out, primes))

    def drop(self, polynomials: Residues, *, moduli: tuple[int, ...], count: int) -> Residues:
        """See `wardline.he.kernels.backend.Backend.drop`."""
        flat = rows_of(polynomials, moduli)
        if not 0 <= count < len(moduli):
            raise ValueError("the last modulus that is left cannot be divided by")
        values = self._there(flat)
        for left in range(len(moduli), len(moduli) - count, -1):
            values = self._divided(values, moduli[: left - 1], moduli[left - 1])
        return self._back(values).reshape(*polynomials.shape[:-2], *values.shape[1:])

    def relinearise(self, parts: Residues, key: Residues, parameters: Parameters) -> Residues:
        """See `wardline.he.kernels.switching.relinearise`."""
        torch, special, count = self._torch, parameters.special, len(parameters.moduli)
        if special is None or key.dtype != np.uint32 or key.shape != (count, 2, count + 1, parameters.degree):
            raise ValueError(f"a key is [{count}, 2, {count + 1}, {parameters.degree}], with a special prime")
        if parts.ndim < 3 or parts.shape[-3] != 3 or not 1 <= parts.shape[-2] <= count:
            raise ValueError("a ciphertext to relinearise has three parts")
        kept = parameters.moduli[: parts.shape[-2]]
        limbs, every = len(kept), (*kept, special)
        flat = self._there(parts.reshape(-1, 3, *parts.shape[-2:]))
        plain = self._inverse(flat[:, 2], kept)
        primes = self._column(every)
        # Every limb, read as integers, modulo all primes: [rows, digits, primes, degree].
        digits = self._forward(torch.remainder(plain[:, :, None], primes), every)
        chosen = self._key_of(key)[:limbs, :, [*range(limbs), key.shape[2] - 1]]
        sums = torch.zeros((len(flat), 2, limbs + 1, flat.shape[-1]), dtype=torch.int64, device=self._device)
        for digit in range(limbs):
            sums += torch.remainder(digits[:, digit, None] * chosen[digit], primes)
        switched = self._divided(torch.remainder(sums, primes), kept, special)
        out = self._back(torch.remainder(flat[:, :2] + switched, self._column(kept)))
        return out.reshape(*parts.shape[:-3], 2, *parts.shape[-2:])

    def to_evaluations(self, polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
        """See `wardline.he.kernels.transform.to_evaluations`."""
        flat = rows_of(polynomials, moduli)
        return self._back(self._forward(self._there(flat), moduli)).reshape(polynomials.shape)

    def to_coefficients(self, polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
        """See `wardline.he.kernels.transform.to_coefficients`."""
        flat = rows_of(polynomials, moduli)
        return self._back(self._inverse(self._there(flat), moduli)).reshape(polynomials.shape)

    def _there(self, residues: Residues) -> Tensor:
        """On the device, in 64 bits."""
        there = self._torch.from_numpy(np.ascontiguousarray(residues).view(np.int32)).to(self._device)
        return there.to(self._torch.int64)

    def _back(self, values: Tensor) -> Residues:
        found: Residues = values.to(self._torch.int32).cpu().contiguous().numpy().view(np.uint32)
        return found

    def _column(self, numbers: tuple[int, ...]) -> Tensor:
        return self._torch.tensor(numbers, dtype=self._torch.int64, device=self._device)[:, None]

    def _key_of(self, key: Residues) -> Tensor:
        """The last key stays on the device: it is the same for all ciphertexts of a batch."""
        held = self._key
        if held is None or held[0] is not key:
            self._key = held = key, self._there(key)
        return held[1]

    def _divided(self, values: Tensor, kept: tuple[int, ...], last: int) -> Tensor:
        """[..., limbs + 1, degree] without the last limb, divided by its prime and rounded, in NTT form."""
        torch = self._torch
        tail = self._inverse(values[..., -1:, :], (last,))
        half, primes = last >> 1, self._column(kept)
        centred = torch.remainder(tail + half, last) - half
        taken = self._forward(torch.remainder(centred, primes), kept)
        inverses = self._column(tuple(pow(last, -1, prime) for prime in kept))
        return torch.remainder(torch.remainder(values[..., :-1, :] - taken, primes) * inverses, primes)

    def _roots(self, moduli: tuple[int, ...], degree: int, *, forward: bool) -> Tensor:
        return self._torch.from_numpy(_roots(moduli, degree, forward)).to(self._device)

    def _forward(self, values: Tensor, moduli: tuple[int, ...]) -> Tensor:
        """Cooley and Tukey's butterflies: [..., limbs, degree]."""
        torch, (*leading, degree) = self._torch, values.shape
        roots, primes = self._roots(moduli, degree, forward=True), self._column(moduli)[:, :, None]
        width = 1
        while width < degree:
            pairs = values.reshape(*leading, width, 2, degree // (2 * width))
            lower = torch.remainder(pairs[..., 1, :] * roots[:, width : 2 * width, None], primes)
            upper = pairs[..., 0, :]
            values = torch.remainder(torch.stack([upper + lower, upper - lower], dim=-2), primes[..., None])
            width *= 2
        return values.reshape(*leading, degree)

    def _inverse(self, values: Tensor, moduli: tuple[int, ...]) -> Tensor:
        """Gentleman and Sande's: the butterflies turned round."""
        torch, (*leading, degree) = self._torch, values.shape
        roots, primes = self._roots(moduli, degree, forward=False), self._column(moduli)[:, :, None]
        width = degree // 2
        while width:
            pairs = values.reshape(*leading, width, 2, degree // (2 * width))
            upper, lower = pairs[..., 0, :], pairs[..., 1, :]
            turned = torch.remainder(upper - lower, primes) * roots[:, width : 2 * width, None]
            values = torch.remainder(torch.stack([upper + lower, turned], dim=-2), primes[..., None])
            width //= 2
        divisors = self._column(tuple(pow(degree, -1, prime) for prime in moduli))
        return torch.remainder(values.reshape(*leading, degree) * divisors, self._column(moduli))


@lru_cache(maxsize=64)
def _roots(moduli: tuple[int, ...], degree: int, forward: bool) -> npt.NDArray[np.int64]:
    """Roots of every stage, those of stage s from place 2^s on: [limbs, degree]."""
    found = np.zeros((len(moduli), degree), dtype=np.int64)
    for limb, prime in enumerate(moduli):
        table = tables(prime, degree)
        source = (table.forward if forward else table.inverse)[0]
        width, start = 1, 0
        while width < degree:
            found[limb, width : 2 * width] = source[start : start + width]
            start += max(width, min(PERIOD, degree // 2))
            width *= 2
        if not forward:  # the table's is divided by the degree
            found[limb, 1] = found[limb, 1] * degree % prime
    return found
