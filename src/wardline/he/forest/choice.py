"""A forest and a sample into a plan: thresholds, integers, the smallest ring, and a gate on decisions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wardline.core import DataError, UsageError
from wardline.he.forest.circuit import Circuit
from wardline.he.forest.integers import Thresholds, reach, sums, thresholds_of, to_integers
from wardline.he.forest.noise import Budget, budget, output_deviation
from wardline.he.forest.plan import ForestPlan, ForestWeights
from wardline.he.forest.trees import MOST_DEPTH, Floats, Forest
from wardline.he.kernels.product import second_base
from wardline.he.parameters import MOST_BITS, Parameters, find_primes, is_prime

MOST_SECONDS = 600.0
"""A plan that is predicted to take longer for a batch, with one thread, is refused unless more is allowed."""

MOST_THRESHOLDS = 4096
"""Each is a ciphertext of a batch."""

_DEGREES = (4096, 8192, 16384, 32768)
_LARGEST_BITS = 31
_LEAST_PRIME_BITS = 24
_MOST_PLAIN_BITS = 30
_NANOSECONDS = 0.45
"""For a coefficient, a stage of a transform, and a limb, on one core: measured times were 0.9 to 1.4 times what it
predicts (benchmarks/he_forest.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a forest with rounded leaves, and so its encrypted twin, compares with the plain one.

    Attributes:
        rows: that were compared.
        decisions: share of them with equal decisions; None for outputs that decide nothing.
        deviation: root of the mean squared difference of outputs.
        largest: difference of an output.
    """

    rows: int
    decisions: float | None
    deviation: float
    largest: float

    def __str__(self) -> str:
        decided = "" if self.decisions is None else f"decisions equal on {self.decisions:.4%} of them, "
        return f"{self.rows} rows: {decided}differences {self.deviation:.2g} typical, {self.largest:.2g} most"


def plan_forest(
    forest: Forest,
    sample: Floats,
    *,
    error: float | None = None,
    agreement: float = 0.999,
    decoys: int = 0,
    most_seconds: float = MOST_SECONDS,
) -> tuple[ForestPlan, ForestWeights]:
    """Choose integers and parameters for a forest.

    Args:
        forest: the plain one, as `wardline.he.forest.reading.read_forest` gives it.
        sample: rows like those that will be scored, finite: [rows, features], at least two. It says how finely leaves
            are rounded and, with decoys, where these lie.
        error: the greatest root mean square of what rounded leaves change an output by; None takes a thousandth of the
            outputs' spread over the sample.
        agreement: the least share of the sample on which decisions must equal the plain forest's.
        decoys: thresholds that are added for each feature, at most, so that the forest's own hide among them.
        most_seconds: that a batch may take, as predicted for one thread.

    Raises:
        UsageError: for a forest that is too deep for any ring, too large, or whose rounded decisions agree too rarely.
        DataError: for a sample that does not fit.
        ValueError: for arguments out of range.

    Guarantee: on every row of the sample the rounded forest, which the encrypted one equals, was compared with the
    plain one. Of other rows the plan's `worst` bounds the difference. All thresholds of the forest are public in the
    plan: decoys hide which of them are used, and how well depends on how many there are and on where they lie.
    Thresholds lie between two values of the rows that the model was fitted on, decoys between two of the sample's, and
    tell of them.
    """
    if not 0 < agreement <= 1 or (error is not None and not 0 < error < math.inf) or not most_seconds > 0:
        raise ValueError("agreement is above 0 and at most 1, error and most_seconds are above 0, error is finite")
    if sample.ndim != 2 or len(sample) < 2 or sample.shape[1] != forest.features:
        raise DataError(f"a sample has at least two rows of {forest.features} numbers", hint="give typical rows")
    if not np.isfinite(forest.cast(sample)).all():
        raise DataError("the sample holds a number that is not finite", hint="fill or drop missing values")
    thresholds = _thresholds(forest, sample, decoys)
    plain = forest.evaluate(sample)
    deepest = max(range(len(forest.trees)), key=lambda index: forest.trees[index].depth)
    if forest.trees[deepest].depth > MOST_DEPTH:
        raise _too_deep(forest, deepest, f"at most {MOST_DEPTH} are computed")
    spread = plain.std(axis=0)
    wanted = error if error is not None else 1e-3 * float(spread[spread > 0].min(initial=np.inf))
    if not math.isfinite(wanted):
        wanted = 1e-3 * max(float(np.abs(plain).max()), 1e-300)
    step = wanted * math.sqrt(12 / (len(forest.trees) + 1))
    reached = ""
    while True:
        try:
            secret = _weights(forest, thresholds, step)
        except OverflowError:  # finer than 62 bits hold
            break
        largest = int(reach(secret.trees, secret.base).max())
        if 2 * largest + 1 >= 1 << _MOST_PLAIN_BITS:
            break
        found = compare(forest, _centre(forest) + step * secret_steps(secret, thresholds, sample), sample)
        if found.deviation <= wanted and (found.decisions is None or found.decisions >= agreement):
            chosen = _parameters(secret.circuit, largest)
            if chosen is None:
                raise _too_deep(
                    forest,
                    deepest,
                    f"{secret.circuit.depth} products one after the other are more than any ring of 128 bits of "
                    "security bears with the noise that hides the model",
                )
            plan = _plan(forest, thresholds, secret, step, found, *chosen)
            _check_seconds(plan, most_seconds)
            return plan, secret
        reached = f": {found}"
        step /= 2
    raise UsageError(
        f"the encrypted forest would not decide as the plain one{reached}",
        hint="allow a larger error or a lower agreement; votes that are nearly even are not settled by finer steps",
    )


def compare(forest: Forest, outputs: Floats, rows: Floats) -> Agreement:
    """Outputs of some kind beside the plain forest's: [rows, outputs] each."""
    plain = forest.evaluate(rows)
    decisions = None
    if forest.meaning.gives != "values":
        decisions = float((forest.meaning.decide(outputs) == forest.meaning.decide(plain)).mean())
    off = np.abs(outputs - plain)
    return Agreement(
        rows=len(rows),
        decisions=decisions,
        deviation=float(np.sqrt((off**2).mean())),
        largest=float(off.max()),
    )


def secret_steps(secret: ForestWeights, thresholds: Thresholds, rows: Floats) -> Floats:
    """Whole numbers of steps, [rows, outputs], before there is a plan."""
    return sums(secret.trees, secret.base, thresholds.bits(rows)).astype(np.float64)


def predicted_seconds(circuit: Circuit, parameters: Parameters) -> float:
    """For a batch and one thread: transforms of limbs are what takes time."""
    limbs = len(parameters.moduli)
    wide = limbs + len(second_base(parameters, max(circuit.last, 1)))
    outputs = len(circuit.constant)
    transforms = circuit.products * (7 * wide + limbs * (limbs + 3)) + circuit.last * 4 * wide
    # Seeds to draw out, the end of sums of products, and what makes a reply fit to leave.
    transforms += circuit.bits * limbs + outputs * limbs * 10
    transforms += outputs * (3 * wide + limbs * (limbs + 3)) if circuit.last else 0
    stages = parameters.degree.bit_length() - 1
    terms = sum(len(one) for block in circuit.blocks for _, sums in block.last for one in sums)
    terms += sum(len(one) for block in circuit.blocks for level in block.products for pair in level for one in pair)
    return _NANOSECONDS * 1e-9 * parameters.degree * (transforms * stages + 4 * terms * limbs)


def _thresholds(forest: Forest, sample: Floats, decoys: int) -> Thresholds:
    if all(tree.leaves == 1 for tree in forest.trees):
        raise UsageError(
            "no tree of the forest has a split", hint="its answer is a constant, which needs no encryption"
        )
    thresholds = thresholds_of(forest, decoys=decoys, sample=sample if decoys else None)
    if len(thresholds) > MOST_THRESHOLDS:
        raise UsageError(
            f"the forest compares with {len(thresholds)} thresholds, and at most {MOST_THRESHOLDS} are encrypted",
            hint="fit it with max_bins, or on features rounded to fewer values; or fit fewer or shallower trees",
        )
    return thresholds


def _centre(forest: Forest) -> Floats:
    """What 0 steps stand for: where a decision falls, so that its sign is exact."""
    if forest.meaning.gives == "decision":
        return np.full(forest.outputs, forest.meaning.threshold)
    low = sum(tree.value[tree.feature < 0].min(axis=0) for tree in forest.trees)
    high = sum(tree.value[tree.feature < 0].max(axis=0) for tree in forest.trees)
    return np.asarray(forest.offset + (low + high) / 2, dtype=np.float64)


def _weights(forest: Forest, thresholds: Thresholds, step: float) -> ForestWeights:
    trees, base = to_integers(forest, thresholds, step=step, centre=_centre(forest))
    return ForestWeights(trees=trees, base=base, bit_features=thresholds.feature)


def _parameters(circuit: Circuit, largest: int) -> tuple[Parameters, Budget] | None:
    """The smallest ring, and in it the fewest and smallest primes, that bear a circuit's noise."""
    for degree in _DEGREES:
        plain = _plain_modulus(degree, 2 * largest + 1)
        deviation = output_deviation(circuit, degree=degree, plain=plain)
        for moduli, special in _moduli(degree, switching=circuit.depth > 0):
            if plain in (*moduli, special) or plain >= math.prod(moduli):
                continue
            parameters = Parameters(scheme="bfv", degree=degree, moduli=moduli, special=special, plain_modulus=plain)
            room = budget(parameters, deviation)
            if room is not None:
                return parameters, room
    return None


def _moduli(degree: int, *, switching: bool) -> Iterator[tuple[tuple[int, ...], int | None]]:
    """Moduli and a special prime, few and small ones first."""
    for limbs in range(1, 32):
        for bits in range(_LEAST_PRIME_BITS, _LARGEST_BITS + 1):
            # The first one is large, since a reply that is left with it alone is the smallest that there is.
            sizes = (*([_LARGEST_BITS] * switching), _LARGEST_BITS, *([bits] * (limbs - 1)))
            if sum(sizes) > MOST_BITS[degree]:
                break
            try:
                primes = find_primes(degree, sizes)
            except ValueError:  # a small size that has too few primes
                continue
            yield primes[switching:], primes[0] if switching else None


def _plain_modulus(degree: int, least: int) -> int:
    """The smallest prime with slots that is not below, and is not the smallest of all, which SEAL may use itself."""
    candidate = -(-max(least - 1, 16 * degree) // (2 * degree)) * 2 * degree + 1
    while not is_prime(candidate):
        candidate += 2 * degree
    return candidate


def _too_deep(forest: Forest, index: int, reason: str) -> UsageError:
    return UsageError(
        f"tree {index} is {forest.trees[index].depth} splits deep: {reason}",
        where=f"tree {index}",
        hint="fit it with a smaller max_depth",
    )


def _check_seconds(plan: ForestPlan, most_seconds: float) -> None:
    if plan.seconds > most_seconds:
        raise UsageError(
            f"the forest takes {plan.products + plan.last} products of ciphertexts, about {plan.seconds:.3g} s for a "
            f"batch, and {most_seconds:.3g} are allowed",
            hint="fit fewer trees or a smaller max_depth, or allow more seconds",
        )


def _plan(
    forest: Forest,
    thresholds: Thresholds,
    secret: ForestWeights,
    step: float,
    found: Agreement,
    parameters: Parameters,
    room: Budget,
) -> ForestPlan:
    circuit = secret.circuit
    return ForestPlan(
        parameters=parameters,
        thresholds=thresholds,
        inputs=forest.features,
        centre=_centre(forest),
        step=step,
        trees=len(forest.trees),
        nodes=sum(len(tree.feature) for tree in forest.trees),
        depth=circuit.depth,
        products=circuit.products,
        last=circuit.last,
        held=circuit.held,
        seconds=predicted_seconds(circuit, parameters),
        # The plan is public: in full they would tell how far leaves are apart, of a small tree exactly.
        noise_bits=float(math.ceil(math.log2(room.bound))),
        flood_limbs=room.flood_limbs,
        flood_bits=room.flood_bits,
        reply_limbs=room.reply_limbs,
        left_bits=math.floor(10 * room.left_bits) / 10,
        error=found.deviation,
        worst=step * (len(forest.trees) + 1) / 2,
    )
