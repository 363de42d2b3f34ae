"""Ciphertexts and keys as the evaluator sees them: residues of polynomials, all of them public."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.he.parameters import Parameters

Residues: TypeAlias = npt.NDArray[np.uint32]
"""Residues of polynomials, each below the prime of its limb: [..., limbs, degree]."""

Form: TypeAlias = Literal["coefficients", "evaluations"]
"""How a polynomial is written: by its coefficients, or by its values at the roots of X^degree + 1 (NTT form)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ciphertext:
    """Polynomials c0, c1, ... with c0 + c1 s + c2 s^2 ... = message + noise for the secret s.

    Attributes:
        parameters: what it was encrypted under.
        parts: [parts, limbs, degree]; limb i is modulo the i-th of `parameters.moduli`. Fewer limbs than moduli stand
            for a lower level.
        form: SEAL keeps BFV by coefficients and CKKS by evaluations.
        scale: by which the message is multiplied; 1 for BFV.

    Raises:
        ValueError: for parts of another shape or type, or a scale that is not above 0. That residues are below their
            primes is not looked at here: whoever reads bytes does it (see `wardline.he.frames`).
    """

    parameters: Parameters
    parts: Residues
    form: Form
    scale: float = 1.0

    def __post_init__(self) -> None:
        shape = self.parts.shape
        if self.parts.dtype != np.uint32 or len(shape) != 3 or shape[2] != self.parameters.degree:
            raise ValueError("the parts of a ciphertext are 32-bit residues [parts, limbs, degree]")
        if not 2 <= shape[0] <= 3 or not 1 <= shape[1] <= len(self.parameters.moduli):
            raise ValueError(f"a ciphertext of {shape[0]} parts and {shape[1]} limbs is none of these parameters")
        _check_form(self.form, self.scale, self.parameters)

    @property
    def limbs(self) -> int:
        """How many moduli are left."""
        return int(self.parts.shape[1])


SEED_BYTES = 64
"""Bytes that SEAL draws the uniform part of a fresh ciphertext from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeededColumns:
    """Fresh ciphertexts under the secret key, with their uniform part c1 as the seed that it is drawn from.

    Attributes:
        parameters: what they were encrypted under.
        seeds: bytes [count, 64]; c1 is SEAL's uniform polynomial for them. A seed is as public as c1 is.
        c0: [count, limbs, degree].
        form: of c0, and of the c1 that the seeds give.
        scale: by which the messages are multiplied; 1 for BFV.
        dropped_bits: 0, or d where the low d bits of every coefficient (as a number modulo the first prime) were not
            sent: a noise of at most 2^(d - 1) has come on top of the encryption's own.

    Raises:
        ValueError: for other shapes or types. Residues are not compared with their primes here.
    """

    parameters: Parameters
    seeds: npt.NDArray[np.uint8]
    c0: Residues
    form: Form
    scale: float = 1.0
    dropped_bits: int = 0

    def __post_init__(self) -> None:
        shape = self.c0.shape
        if self.c0.dtype != np.uint32 or len(shape) != 3 or shape[2] != self.parameters.degree:
            raise ValueError("c0 of seeded ciphertexts is 32-bit residues [count, limbs, degree]")
        if shape[0] < 1 or not 1 <= shape[1] <= len(self.parameters.moduli):
            raise ValueError(f"{shape[0]} ciphertexts of {shape[1]} limbs are none of these parameters")
        if self.seeds.dtype != np.uint8 or self.seeds.shape != (shape[0], SEED_BYTES):
            raise ValueError(f"seeds are bytes [count, {SEED_BYTES}], one for each ciphertext")
        _check_form(self.form, self.scale, self.parameters)
        most = most_dropped_bits(self.parameters) if self.form == "coefficients" else 0
        if not 0 <= self.dropped_bits <= most:
            raise ValueError(f"at most {most} bits of a coefficient can be left out here")

    def __len__(self) -> int:
        return int(self.c0.shape[0])

    @property
    def limbs(self) -> int:
        """How many moduli there are."""
        return int(self.c0.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeededKey:
    """A switching key whose uniform parts are the seeds that they are drawn from: half the size.

    Attributes:
        seeds: bytes [limbs, 64]; each gives the second part of a pair, modulo all primes, by evaluations.
        c0: the first parts [limbs, limbs + 1, degree].
    """

    seeds: npt.NDArray[np.uint8]
    c0: Residues


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeededKeys:
    """The keys that a client gives to a server, as they travel; `EvaluationKeys` are the same drawn out.

    Attributes:
        parameters: what the keys belong to.
        public: the public key [2, limbs, degree], modulo `moduli` alone, by evaluations.
        relinearisation: the key for s^2; None where none was made.
        galois: keys by Galois element (see `wardline.he.kernels.transform.galois_element`).

    Raises:
        ValueError: for shapes that do not fit, or switching keys without a special prime.
    """

    parameters: Parameters
    public: Residues
    relinearisation: SeededKey | None = None
    galois: Mapping[int, SeededKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limbs, degree = len(self.parameters.moduli), self.parameters.degree
        _check_keys(self.parameters, self.public, [*self.galois], switching=self.relinearisation is not None)
        for one in (*self.galois.values(), *([] if self.relinearisation is None else [self.relinearisation])):
            if one.c0.dtype != np.uint32 or one.c0.shape != (limbs, limbs + 1, degree):
                raise ValueError("first parts of a switching key are 32-bit residues [limbs, limbs + 1, degree]")
            if one.seeds.dtype != np.uint8 or one.seeds.shape != (limbs, SEED_BYTES):
                raise ValueError(f"seeds of a switching key are bytes [limbs, {SEED_BYTES}]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationKeys:
    """What a server computes with for a client; all of it public, all of it by evaluations.

    Key i of a switching key encrypts P q^_i s' under s, with q^_i the number that is 1 modulo the i-th prime and 0
    modulo the others, and P the special prime (SEAL's layout, in which the special prime comes last).

    Attributes:
        parameters: what the keys belong to.
        public: the public key [2, limbs, degree], modulo `moduli` alone.
        relinearisation: the key for s^2 [limbs, 2, limbs + 1, degree], modulo `primes`; None where none was made.
        galois: by Galois element (see `wardline.he.kernels.transform.galois_element`), keys of the same shape.

    Raises:
        ValueError: for other shapes or types, or switching keys without a special prime.
    """

    parameters: Parameters
    public: Residues
    relinearisation: Residues | None = None
    galois: Mapping[int, Residues] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limbs, degree = len(self.parameters.moduli), self.parameters.degree
        _check_keys(self.parameters, self.public, [*self.galois], switching=self.relinearisation is not None)
        switching = [*self.galois.values(), *([] if self.relinearisation is None else [self.relinearisation])]
        if any(one.dtype != np.uint32 or one.shape != (limbs, 2, limbs + 1, degree) for one in switching):
            raise ValueError("a switching key is 32-bit residues [limbs, 2, limbs + 1, degree]")


def most_dropped_bits(parameters: Parameters) -> int:
    """The most low bits of a coefficient that may be left out: half of the first prime's."""
    return parameters.moduli[0].bit_length() // 2


def _check_keys(parameters: Parameters, public: Residues, elements: list[int], *, switching: bool) -> None:
    if public.dtype != np.uint32 or public.shape != (2, len(parameters.moduli), parameters.degree):
        raise ValueError("a public key is 32-bit residues [2, limbs, degree]")
    if (elements or switching) and parameters.special is None:
        raise ValueError("keys are switched in a special prime, and these parameters have none")
    if any(element % 2 == 0 or not 1 < element < 2 * parameters.degree for element in elements):
        raise ValueError("a galois element is odd, above 1 and below twice the degree")


def _check_form(form: Form, scale: float, parameters: Parameters) -> None:
    if form not in ("coefficients", "evaluations"):
        raise ValueError("form must be coefficients or evaluations")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError("scale must be a finite number above 0")
    if parameters.scheme == "bfv" and scale != 1.0:
        raise ValueError("bfv has a scale of 1")
