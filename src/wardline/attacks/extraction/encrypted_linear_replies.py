"""Attacks on the replies of an encrypted linear model, by a client with keys of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from wardline.attacks.extraction.encrypted_findings import Finding, Technique, correlation_of
from wardline.attacks.extraction.encrypted_replies import (
    SPARE,
    Estimate,
    Floats,
    RecoveredWeights,
    all_from_masks,
    least_squares,
    share_of,
)
from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add, multiply
from wardline.he.kernels.radix import centred, integers, to_digits
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.linear.evaluation import unsafe_sums
from wardline.he.linear.plan import INPUT_BITS, LEFT_OUT, LinearPlan, LinearWeights
from wardline.he.parameters import Parameters
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keys import unsafe_export_residues

MOST_SOLVED = 1024
"""Features up to which weights are solved for one by one: elimination takes the cube of their number."""

BENEATH = 2.0**-14
"""Rows differ so little that outputs differ by this share of the rounding step: scores tell nothing of it."""


class Served(Protocol):
    """A compiled model with its secret: what `wardline.he.compiled.folder.read_model` gives."""

    @property
    def public(self) -> Any:
        """With `plan`, `meaning` and `digest`."""

    @property
    def secret(self) -> Any:
        """The server's integers."""

    def evaluate(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int = 1
    ) -> tuple[Ciphertext, ...]:
        """What the server sends for these columns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steady:
    """What a batch of rows that are all alike is answered with.

    Attributes:
        sent_noise: deviation of a coefficient's noise in what is sent, least of all outputs.
        evenness: how even that noise is over the coefficients, see `evenness`; None for too few numbers to tell.
        repeated: correlation of that noise in two answers to the same columns, in deviations of chance, the most of
            all outputs; None for too few numbers to tell.
        bare_noise: the same in bare replies, most of all outputs: it is a function of the weights.
        bare: second polynomials of bare replies by coefficients, modulo all primes that are left: [outputs, limbs,
            degree].
        sent: of what is sent, modulo as many primes or fewer.
        again: of what is sent to the same columns once more.
    """

    sent_noise: float
    evenness: float | None
    repeated: float | None
    bare_noise: float
    bare: Residues
    sent: Residues
    again: Residues


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearClient:
    """A client of a linear model that keeps to the protocol, and knows its own key.

    Attributes:
        served: the model.
        lattice: the client's keys.
        keys: the public ones.
    """

    served: Served
    lattice: SealLattice
    keys: EvaluationKeys

    @property
    def plan(self) -> LinearPlan:
        """Of the model."""
        plan: LinearPlan = self.served.public.plan
        return plan

    @property
    def secret(self) -> LinearWeights:
        """The integers that the attacks look for: what they find is compared with them."""
        secret: LinearWeights = self.served.secret
        return secret

    def zeros(self) -> SeededColumns:
        """A full batch of rows in the middle of all ranges, which are encoded as zeros, as the server reads them."""
        plan = self.plan
        columns = self.lattice.encrypt_coefficients(np.zeros((plan.features, plan.parameters.degree), dtype=np.int64))
        session, binding = Session.generate(), Binding.fresh()
        frame = write_columns(columns, session=session, binding=binding, dropped_bits=LEFT_OUT)
        limits = Limits(frame_bytes=len(frame), ciphertexts=plan.features)
        return read_columns(frame, parameters=plan.parameters, session=session, limits=limits)[1]

    def sent(self, columns: SeededColumns) -> Residues:
        """What the server sends for a full batch: [outputs, 2, limbs, degree]."""
        found = self.served.evaluate(columns, self.keys, rows=self.plan.parameters.degree)
        return np.stack([one.parts for one in found])

    def masks(self) -> Technique | None:
        """Elimination on c1; None for so many features that it would take too long."""
        plan, columns = self.plan, self.zeros()
        if plan.features > min(MOST_SOLVED, plan.parameters.degree - SPARE):
            return None
        prime = plan.parameters.moduli[0]
        masks = expand(columns.seeds, plan.parameters)[:, 0]
        bare = unsafe_sums(columns, plan=plan, secret=self.secret)
        return Technique(
            name="linear-masks",
            goal="solves for the weights by elimination in the second polynomial of a reply",
            reference="Gaussian elimination; Gentry 2009, section 8.4",
            control_on="bare sums",
            control=self._exact(all_from_masks(masks, bare[:, 1, 0], prime=prime)),
            sent=self._exact(all_from_masks(masks, self.sent(columns)[:, 1, 0], prime=prime)),
        )

    def errors(self) -> Technique:
        """Least squares on the noise, of which the owner of the key knows every input."""
        plan, columns = self.plan, self.zeros()
        parameters, moduli = plan.parameters, plan.parameters.moduli
        both = np.stack([columns.c0, expand(columns.seeds, parameters)], axis=1)
        errors = centred(self._phases(both), moduli=moduli)
        zeros = encryptions_of_zero(
            SecureRandom(), self.keys.public, count=plan.outputs, moduli=moduli, form="coefficients"
        )
        masked = add(unsafe_sums(columns, plan=plan, secret=self.secret), zeros, moduli=moduli)
        return Technique(
            name="linear-noise",
            goal="solves for the weights by least squares in the reply's noise, knowing the noise of each column",
            reference="least squares; Gentry 2009, section 8.4",
            control_on="sums with a fresh mask and no flooding",
            control=self._estimated(errors, self._noise(masked), unit=1.0),
            sent=self._estimated(errors, self._noise(self.sent(columns)), unit=1.0),
        )

    def beneath(self, random: np.random.Generator) -> Technique:
        """Least squares on what rows that differ beneath the rounding step change in unrounded scores."""
        plan, secret = self.plan, self.secret
        heaviest = float(np.sqrt((secret.weights.astype(np.float64) ** 2).sum(axis=1)).max())
        step = float(np.min(np.asarray(plan.step) * np.asarray(plan.scale)))
        reach = int(np.clip(BENEATH * step / max(heaviest, 1.0), 1, 2**INPUT_BITS - 1))
        shape = (plan.features, plan.parameters.degree)
        changes = random.integers(-reach, reach, size=shape, endpoint=True, dtype=np.int64)
        columns = self.lattice.encrypt_coefficients(changes)
        bare = unsafe_sums(columns, plan=plan, secret=secret)
        known = changes.astype(np.float64)
        return Technique(
            name="beneath-the-step",
            goal="reads unrounded scores of rows that differ by less than scores are rounded to",
            reference="Li and Micciancio 2021 (what the digits behind an approximate result tell)",
            control_on="bare sums",
            control=self._estimated(known, self._raw(bare), unit=1.0),
            sent=self._estimated(known, self._raw(self.sent(columns)), unit=1.0),
        )

    def uncharged(self, random: np.random.Generator) -> Technique:
        """Scores of rows that stand in a batch of which one row was charged."""
        plan = self.plan
        rows = random.uniform(-1.0, 1.0, size=(plan.parameters.degree, plan.features))
        encoded = np.rint(rows * 2.0**INPUT_BITS).astype(np.int64)
        columns = self.lattice.encrypt_coefficients(np.ascontiguousarray(encoded.T))
        truth = (encoded @ self.secret.weights.T).T.astype(np.float64)[:, 1:]

        def found(rows: int) -> Finding:
            replies = self.served.evaluate(columns, self.keys, rows=rows)
            raw = self._raw(np.stack([one.parts for one in replies]))[:, 1:]
            return Finding(of=truth.size, correlation=correlation_of(raw, truth), share=share_of(truth, raw))

        return Technique(
            name="rows-not-charged",
            goal="reads scores of the other rows in a batch of which one row was charged",
            reference="",
            control_on="the same batch with all rows charged",
            control=found(plan.parameters.degree),
            sent=found(1),
        )

    def steady(self) -> Steady:
        """One batch, answered twice."""
        columns = self.zeros()
        bare = unsafe_sums(columns, plan=self.plan, secret=self.secret)
        sent, again = self.sent(columns), self.sent(columns)
        noise = self._noise(sent)
        return Steady(
            sent_noise=float(noise.std(axis=1).min()),
            evenness=evenness(noise),
            repeated=repeated(noise, self._noise(again)),
            bare_noise=float(self._noise(bare).std(axis=1).max()),
            bare=bare[:, 1],
            sent=sent[:, 1],
            again=again[:, 1],
        )

    def _exact(self, found: tuple[RecoveredWeights, ...]) -> Finding:
        # A solution that does not explain the spare equations says nothing, whatever its entries are.
        right = sum(
            int((one.weights == weights).sum())
            for one, weights in zip(found, self.secret.weights, strict=True)
            if one.consistent
        )
        values = np.stack([one.weights for one in found]).astype(np.float64)
        return Finding(
            recovered=right,
            of=self.secret.weights.size,
            correlation=correlation_of(values, self.secret.weights.astype(np.float64)),
        )

    def _estimated(self, known: Floats, replied: Floats, *, unit: float) -> Finding:
        return estimated(known, replied, truth=self.secret.weights.astype(np.float64), unit=unit)

    def _phases(self, parts: Residues) -> Residues:
        return unsafe_phases(self.lattice, parts)

    def _noise(self, parts: Residues) -> Floats:
        """The noise of replies to rows of zeros, at the scale of all primes: [outputs, degree], up to a constant."""
        moduli = self.plan.parameters.moduli
        limbs = parts.shape[2]
        exact: Any = integers(to_digits(self._phases(parts), moduli=moduli[:limbs]), moduli=moduli[:limbs])
        whole = math.prod(moduli[:limbs])
        # The bias may lie anywhere, so that noise around it may wrap: distances from one coefficient are centred.
        exact = (exact - exact[:, :1] + whole // 2) % whole - whole // 2
        return np.asarray(exact.astype(np.float64) * float(math.prod(moduli[limbs:])), dtype=np.float64)

    def _raw(self, parts: Residues) -> Floats:
        """Unrounded scores as integers: [outputs, degree], up to a constant that keeps them exact."""
        parameters = self.plan.parameters
        found = self.lattice.decrypt_coefficients(
            [Ciphertext(parameters=parameters, parts=one, form="coefficients") for one in parts]
        )
        return (found - found[:, :1]).astype(np.float64)


def estimated(known: Floats, replied: Floats, *, truth: Floats, unit: float) -> Finding:
    """What least squares and the known-answer test find.

    Args:
        known: [inputs, equations].
        replied: [outputs, equations].
        truth: what is looked for, [outputs, inputs], in the unit of `replied` over that of `known`.
        unit: what a difference of 1 in integer weights is in that unit: estimates within half of it count as exact.
    """
    share = share_of(truth @ known, replied)
    if len(known) > min(MOST_SOLVED, known.shape[1] - SPARE):
        return Finding(share=share)
    found: Estimate = least_squares(known, replied)
    exact = np.abs(found.values - truth) < unit / 2
    worst = float(found.deviations.max())
    return Finding(
        recovered=int(exact.sum()),
        of=exact.size,
        correlation=correlation_of(found.values, truth),
        standard_error=worst / unit if np.isfinite(worst) else None,
        share=share,
    )


def evenness(noise: Floats) -> float | None:
    """How even noise is, as a share of what uniform noise would show: places without any pull it towards 0.

    It is the least of the deviations of 32 neighbours, as a share of the whole output's, and of the narrowest interval
    that holds an eighth of an output's numbers, as a share of the same for uniform ones. Uniform noise stays
    above .3 but for a probability of 2e-14 in each run: the share of a ball of that radius in the cube.

    Args:
        noise: [outputs, coefficients].

    Returns:
        The share; None for fewer than 1,024 coefficients.
    """
    count = noise.shape[1]
    if count < 1024:
        return None
    whole = np.maximum(noise.std(axis=1), 1e-300)
    runs = noise[:, : count // 32 * 32].reshape(len(noise), -1, 32).std(axis=2).min(axis=1)
    ordered, eighth = np.sort(noise, axis=1), count // 8
    narrowest = (ordered[:, eighth - 1 :] - ordered[:, : count - eighth + 1]).min(axis=1)
    return float(min((runs / whole).min(), (narrowest / (whole * math.sqrt(12) / 8)).min()))


def repeated(noise: Floats, again: Floats) -> float:
    """How far the noises of two answers, [outputs, coefficients], are from uncorrelated, in deviations of chance."""
    one, other = (each - each.mean(axis=1, keepdims=True) for each in (noise, again))
    sizes = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found = np.abs((one * other).sum(axis=1)) / np.maximum(sizes, 1e-300)
    return float(found.max()) * math.sqrt(noise.shape[1])


def unsafe_phases(lattice: SealLattice, parts: Residues) -> Residues:
    """c0 + c1 s of ciphertexts by coefficients, [count, 2, limbs, degree] to [count, limbs, degree].

    It is what the owner of the key sees before rounding takes the noise away; it takes the secret out of its handle,
    which is for keys alone that were made to be tried out.
    """
    parameters: Parameters = lattice.parameters
    moduli = parameters.moduli[: parts.shape[2]]
    secret = unsafe_export_residues(lattice.key)[: len(moduli)]
    turned = to_evaluations(np.ascontiguousarray(parts[:, 1]), moduli=moduli)
    product = multiply(turned, np.repeat(secret[None], len(parts), axis=0), moduli=moduli)
    return add(np.ascontiguousarray(parts[:, 0]), to_coefficients(product, moduli=moduli), moduli=moduli)
