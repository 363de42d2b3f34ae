"""How a linear model is computed on ciphertexts: integers, their bits, and how far the answers will be off.

A row's features are scaled to [-1, 1] over the calibrated range and written as integers X_j, the weights as integers
W_j. Ciphertext j holds feature j of up to N rows, a row a coefficient. What a client decrypts is

    sum_j W_j X_j + B + (noise) t / Q,

so a large plain modulus t makes BFV a scheme of real numbers whose precision ends where the noise begins. The noise is
almost wholly the one that the server adds on purpose (see `wardline.he.linear.server`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least
from wardline.he.parameters import MOST_BITS, Parameters, find_primes
from wardline.he.ranges import scaled_rows

Floats = npt.NDArray[np.float64]

DEGREE = 4096
INPUT_BITS = 24
"""Bits of an input behind the point, as many as a 32-bit float carries: its rounding is below everything else."""

FLOOD_BITS = 40
"""By so many bits the noise that a server adds is larger than anything in the noise that tells of the weights."""

FRESH_NOISE = 21
"""The largest error that SEAL puts into a coefficient of a fresh ciphertext (a centred binomial of 42 bits)."""

LEFT_OUT = 8
"""Low bits of a fresh c0 that are not sent: fewer bytes for a noise that the flooding covers as it covers the rest."""

_WEIGHT_SCALES = tuple(2.0 ** (eighth / 8) for eighth in range(8, 8 * 24))  # an odd one may fit the weights better
_LIMB_BITS = ((25, 25, 25), (27, 27, 27), (30, 30, 30), (25, 25, 25, 25), (27, 27, 27, 27))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearPlan:
    """What both sides know of an encrypted linear model.

    Attributes:
        parameters: of the encryption.
        centre, half_width: of each feature's calibrated range: [features] each. An input outside of it is clipped or
            refused by the client.
        outputs: how many scores a row has.
        weight_scale: what a weight was multiplied with before it was rounded to an integer.
        flood_bits: the server's noise is uniform in [-2^flood_bits, 2^flood_bits).
        bound: no score of inputs within their ranges is larger in size.
        error: predicted standard deviation of a score's error over inputs like the sample's.
        worst: no score of inputs within their ranges is farther from the exact one, but for a chance of 2^-40.
        units: of each output, a power of two that is at most 1: [outputs]. Its scores are computed as multiples of it,
            so that an output whose scores are small has as many bits as the largest one. `bound`, `error`, `worst` and
            `step` are those of an output whose unit is 1; of another one they are as many times smaller.
    """

    parameters: Parameters
    centre: Floats
    half_width: Floats
    outputs: int
    weight_scale: float
    flood_bits: int
    bound: float
    error: float
    worst: float
    units: Floats

    @property
    def features(self) -> int:
        """How many numbers a row has."""
        return len(self.centre)

    @property
    def inputs(self) -> int:
        """The same, as plans of every kind call it."""
        return self.features

    @property
    def rows(self) -> int:
        """How many rows a batch has: one for each coefficient."""
        return self.parameters.degree

    @property
    def upload_bytes(self) -> int:
        """Of a batch, packed: a seed and c0 for each, `features (64 + degree (bits(moduli) - left out) / 8)`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli) - LEFT_OUT
        return self.features * (64 + self.parameters.degree * bits // 8)

    @property
    def reply_bytes(self) -> int:
        """Of a batch, packed: two parts for each output in one prime, `2 outputs degree bits(prime) / 8`."""
        return 2 * self.outputs * self.parameters.degree * self.parameters.moduli[0].bit_length() // 8

    def memory_bytes(self, threads: int = 1) -> int:
        """What the server takes at most for a batch beside the upload.

        With polynomials of `4 degree limbs` bytes: the second parts of all features, eight times the two parts of all
        outputs (sums, fresh encryptions of zero, their sum and noise, in 64-bit numbers in places), and eight for each
        thread.
        """
        polynomial = 4 * self.parameters.degree * len(self.parameters.moduli)
        return polynomial * (self.features + 16 * self.outputs + 8 * threads)

    def rounded(self, scores: Floats) -> Floats:
        """Scores [rows, outputs] as multiples of each output's step."""
        steps = self.step * self.units
        return np.asarray(np.rint(scores / steps) * steps, dtype=np.float64)

    @property
    def scale(self) -> float:
        """What a score, in its unit, is multiplied with to be an integer."""
        return 2.0**INPUT_BITS * self.weight_scale

    @property
    def step(self) -> float:
        """What scores, in their unit, are rounded to: the power of two that is no less than the added noise's width."""
        assert self.parameters.plain_modulus is not None
        flood = 2.0**self.flood_bits * self.parameters.plain_modulus / math.prod(self.parameters.moduli) / self.scale
        return float(2.0 ** math.ceil(math.log2(2 * flood)))

    def explain(self) -> str:
        """The plan in words and figures."""
        upload = sum(prime.bit_length() for prime in self.parameters.moduli) - LEFT_OUT
        return "\n".join(
            (
                f"linear model: {self.features} features, {self.outputs} outputs, BFV by coefficients",
                f"ring {self.parameters.degree}, {self.parameters.bits} of {MOST_BITS[self.parameters.degree]} bits "
                f"that 128-bit security allows, {self.parameters.degree} rows to a ciphertext",
                f"weights of {math.log2(self.weight_scale):.1f} bits behind the point, inputs of {INPUT_BITS}",
                f"noise against weight recovery: 2^{self.flood_bits}, {FLOOD_BITS} bits above what tells of weights",
                f"scores up to {self.bound:.4g}; predicted error {self.error:.2g}, never above {self.worst:.2g}",
                *self._explained_units(),
                f"upload {upload * self.features / 8:.0f} bytes a full row, reply "
                f"{2 * self.parameters.moduli[0].bit_length() * self.outputs / 8:.1f}",
            )
        )

    def _explained_units(self) -> tuple[str, ...]:
        if (self.units == 1.0).all():
            return ()
        listed = ", ".join(f"{one:.3g}" for one in self.units[:8].tolist())
        more = "" if self.outputs <= 8 else f" and {self.outputs - 8} more"
        return (f"these of each output are as many times smaller as its unit: {listed}{more}",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearWeights:
    """The server's half, which never leaves it.

    Attributes:
        weights: integers [outputs, features].
        bias: integers [outputs], at the scale of a score.
    """

    weights: npt.NDArray[np.int64] = field(repr=False)
    bias: npt.NDArray[np.int64] = field(repr=False)

    def scores(self, encoded: npt.NDArray[np.int64], plan: LinearPlan) -> Floats:
        """The simulated mode: what exact arithmetic on the integers gives, without any noise: [rows, outputs].

        Args:
            encoded: what `encode` gives for the rows.
            plan: the plan of the same model.
        """
        exact = encoded @ self.weights.T + self.bias  # below 2^60, as the plan has seen to
        return np.asarray(exact / plan.scale * plan.units, dtype=np.float64)


def plan_linear(
    weights: Floats,
    bias: Floats,
    *,
    low: Floats,
    high: Floats,
    sample: Floats,
    error: float | None = None,
    share: float = 2e-3,
) -> tuple[LinearPlan, LinearWeights]:
    """Choose parameters and bits for a linear model.

    The smallest ring that fits is taken, and the weights' bits that make the whole error least: more of them are nearer
    to the weights, and need more noise to hide them.

    Args:
        weights: [outputs, features], finite.
        bias: [outputs], finite.
        low: the least value of each feature, [features].
        high: the greatest, not below; what lies outside is clipped or refused.
        sample: typical rows [rows, features], at least two, which the predicted error is for.
        error: the greatest standard deviation of a score's error that is wanted, above 0; None goes by `share`.
        share: the same as a share of each output's own spread over the sample.

    Raises:
        ValueError: for arguments out of range.
        OverflowError: if no parameters of 128 bits of security reach the error, saying which one they reach.
    """
    _check(weights, bias, low, high, sample)
    centre, half_width = (low + high) / 2, np.maximum((high - low) / 2, np.finfo(np.float64).tiny)
    half_width = np.where(high > low, half_width, 1.0)
    scaled, shifted = weights * half_width, bias + weights @ centre
    rows = np.clip((sample - centre) / half_width, -1.0, 1.0)
    reach = np.abs(scaled).sum(axis=1) + np.abs(shifted)
    # An output that is always 0 is as well off with any unit.
    relative = np.where(reach > 0, reach, reach.max() or 1.0) / (reach.max() or 1.0)
    units = np.exp2(np.ceil(np.log2(relative)))
    scaled, shifted = scaled / units[:, None], shifted / units
    spreads = (rows @ scaled.T).std(axis=0)
    wanted = error
    if wanted is None:
        wanted = share * float(spreads[spreads > 0].min()) if spreads.any() else 0.0
    best: tuple[LinearPlan, LinearWeights] | None = None
    for sizes in _LIMB_BITS:
        moduli = find_primes(DEGREE, sizes)
        for weight_scale in _WEIGHT_SCALES:
            found = _with_scale(moduli, scaled, shifted, (centre, half_width, units), rows, weight_scale)
            if found is not None and (best is None or found[0].error < best[0].error):
                best = found
        if best is not None and best[0].error <= wanted:
            return best
    reached = "none can be had" if best is None else f"the best that can be had is {best[0].error:.2g}"
    raise OverflowError(f"an error of {wanted:.2g} was asked for and {reached} with {FLOOD_BITS} bits of noise on top")


def _with_scale(
    moduli: tuple[int, ...],
    scaled: Floats,
    shifted: Floats,
    ranges: tuple[Floats, Floats, Floats],
    rows: Floats,
    weight_scale: float,
) -> tuple[LinearPlan, LinearWeights] | None:
    """The plan with this scale of the weights, or None where its integers do not fit."""
    scale = 2.0**INPUT_BITS * weight_scale
    weights = np.rint(scaled * weight_scale).astype(np.int64)
    flood_bits = least_flood_bits(weights)
    # What rounding takes from the weights is put into the bias as far as it is the same for all rows.
    rounding = scaled - weights / weight_scale
    lost = rows @ rounding.T
    mean = lost.mean(axis=0)
    slack = float(
        (np.abs(rounding).sum(axis=1) + np.abs(mean)).max() + np.abs(scaled).sum(axis=1).max() * 2**-INPUT_BITS
    )
    bound = float((np.abs(scaled).sum(axis=1) + np.abs(shifted)).max())
    modulus = math.prod(moduli)
    plain_bits = math.ceil(math.log2(2.5 * scale * (bound + slack)))
    flood = 2.0**flood_bits * 2.0**plain_bits / modulus / scale
    # The reply is switched down to one prime: its rounding is spread by the secret, at most one in size.
    switched = 2.0**plain_bits / moduli[0] / scale
    if plain_bits > 59 or bound * scale + flood * scale >= 2.0 ** (plain_bits - 1):
        return None
    spread = math.sqrt((1 + 2 / 3 * DEGREE) / 12)
    error = math.sqrt(float(lost.std(axis=0).max()) ** 2 + flood**2 / 3 + (switched * spread) ** 2)
    # Eight standard deviations of a sum of thousands of bounded terms: less than 2^-40 (Hoeffding 1963).
    worst = slack + flood + 8 * switched * spread
    plan = LinearPlan(
        parameters=Parameters(scheme="bfv", degree=DEGREE, moduli=moduli, plain_modulus=1 << plain_bits),
        centre=ranges[0],
        half_width=ranges[1],
        outputs=len(scaled),
        weight_scale=weight_scale,
        flood_bits=flood_bits,
        bound=bound,
        error=error,
        worst=worst,
        units=ranges[2],
    )
    return plan, LinearWeights(weights=weights, bias=np.rint((shifted + mean) * scale).astype(np.int64))


def least_flood_bits(weights: npt.NDArray[np.int64]) -> int:
    """Bits of the noise that hides these integers [outputs, features]: 40 above what they make of a column's noise."""
    heaviest = float(np.abs(weights.astype(np.float64)).sum(axis=1).max())
    return FLOOD_BITS + math.ceil(math.log2(max(heaviest, 1.0) * (FRESH_NOISE + 1 + 2 ** (LEFT_OUT - 1))))


def encode(plan: LinearPlan, rows: Floats) -> npt.NDArray[np.int64]:
    """Rows as integers, [rows, features], clipped to the plan's ranges.

    Args:
        plan: of the model.
        rows: finite numbers [rows, features].
    """
    return np.rint(scaled_rows(plan, rows) * 2.0**INPUT_BITS).astype(np.int64)


def _check(weights: Floats, bias: Floats, low: Floats, high: Floats, sample: Floats) -> None:
    outputs, features = weights.shape
    at_least("outputs", outputs, 1)
    at_least("features", features, 1)
    at_least("rows of the sample", len(sample), 2)
    shapes: dict[str, Any] = {"bias": (bias, (outputs,)), "low": (low, (features,)), "high": (high, (features,))}
    shapes["sample"] = (sample, (len(sample), features))
    for name, (values, shape) in {"weights": (weights, weights.shape), **shapes}.items():
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite numbers of shape {shape}")
    if (low > high).any():
        raise ValueError("low must not be above high")
