"""The choice of ring, primes, scales, weights' bits and rotations for one row of a network at a time.

As in `wardline.he.network.choice`; what is different: plaintexts are polynomials whose coefficients are rounded, so
that every slot carries an error of sqrt(degree / 12) over the weights' scale, those that hold no number too.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wardline.core.errors import UsageError
from wardline.he.compiler.calibration import calibrate, unit_inputs
from wardline.he.compiler.convolution import Convolution
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Program
from wardline.he.diagonal.chains import Network, Rounded, plans, transforms
from wardline.he.diagonal.encoding import polynomials_of, slots_of
from wardline.he.diagonal.moves import applied, beside
from wardline.he.diagonal.plan import (
    DiagonalPlan,
    DiagonalWeights,
    factors_of,
    laid_out,
    offsets,
)
from wardline.he.diagonal.search import Route, cheapest
from wardline.he.network.chain import PRIME_BITS
from wardline.he.network.choice import DEGREES
from wardline.he.network.noise import (
    gains_of,
)
from wardline.he.network.stages import Floats, Stage, balanced, reach_of, stages_of, through

_WEIGHT_BITS = range(12, 38, 2)
_FIRST_SPARE = 4
"""More for the first step, which has room for them."""
_ROWS = 64
"""Rows that weights' bits and the bounds of slots are learned from."""
_SPARE = 1.25
"""No slot is taken to be more times as large as in those rows, in what bounds rounded weights."""
_FIRST = (PRIME_BITS, 50)
"""Bits that the first step drops at least, if it rotates: one prime or two, which leave room for digits of several."""
_SPARE_BITS = (0, 4)
"""By how many bits a scale may be larger than the others if that takes a prime less."""
_JACOBIANS = 1 << 22
"""Numbers that the slopes of rows may be, which say how noise travels typically: further rows are left out."""


def plan_diagonal(
    program: Program, sample: npt.NDArray[np.float64], *, error: float | None = None, margin: float = 0.1
) -> tuple[DiagonalPlan, DiagonalWeights]:
    """Choose everything for a protected network that scores one row at a time.

    Args:
        program: linear maps and polynomials of degree 2.
        sample: typical rows [rows, inputs] or of the program's input shape, at least two; ranges and predicted errors
            are learned from them.
        error: the greatest standard deviation of an output's error that is wanted, above 0; None takes two thousandths
            of the outputs' own spread over the sample.
        margin: by which share of its width each range is widened on both sides.

    Raises:
        UsageError: for a layer that cannot be computed.
        DataError: for a sample that cannot be calibrated on.
        ValueError: for arguments out of range.
        OverflowError: if no ring of 128 bits of security reaches the error, or has slots for a layer.

    Guarantee: the plan's noise makes replies independent of the weights as said at `evaluation.replies`. The bound on
    what the noise must cover holds for rows within the calibrated ranges, rounding errors that are independent and
    uniform, and 20 standard deviations. The plan tells the geometry of a first convolution (which inputs meet in a
    window), and of any other layer its shape alone, whichever of its weights are 0.
    """
    return _plan(program, sample, error, margin, protected=True)


def unsafe_plan_unprotected_diagonal(
    program: Program, sample: npt.NDArray[np.float64], *, error: float | None = None, margin: float = 0.1
) -> tuple[DiagonalPlan, DiagonalWeights]:
    """The same without any protection of the weights, in a smaller ring: for comparisons, and for attacks to succeed.

    Whoever decrypts an answer sees parts of sums in its slots, noise that depends on the weights, and second parts that
    are functions of them. See `plan_diagonal`.
    """
    return _plan(program, sample, error, margin, protected=False)


def _plan(
    program: Program, sample: npt.NDArray[np.float64], error: float | None, margin: float, *, protected: bool
) -> tuple[DiagonalPlan, DiagonalWeights]:
    if error is not None and not (math.isfinite(error) and error > 0):
        raise ValueError("error must be finite and above 0")
    plain = simplify(program)
    rows = plain.rows(sample)
    ranges = calibrate(plain, rows, margin=margin).ranges[0]
    scaled, scaling = unit_inputs(plain, ranges)
    unit = np.clip(scaling.apply(rows), -1.0, 1.0)
    wanted = 2e-3 * float(np.sqrt(plain.evaluate(rows).var(axis=0).mean())) if error is None else error
    if wanted == 0.0:
        raise ValueError("the outputs are the same for all rows of the sample: say which error is wanted")
    network = _network(scaled, scaling.centre, scaling.half_width, unit, margin)
    best = math.inf
    for degree in DEGREES:
        found = _rounded(network, degree, wanted, protected=protected)
        if found is None:
            continue
        fitting = []
        firsts = _FIRST if found.route.moves[0].rotations else (0,)
        for sizes in itertools.product(firsts, _SPARE_BITS):
            for plan in plans(network, found, degree, sizes, protected=protected):
                best = min(best, plan.error)
                if plan.error <= wanted:
                    fitting.append(plan)
                    break
        if fitting:
            plan = min(fitting, key=transforms)
            return plan, DiagonalWeights.of(plan, network.stages)
    reached = "none can be had" if best == math.inf else f"the best that can be had is {best:.2g}"
    raise OverflowError(f"an error of {wanted:.2g} was asked for and {reached} within 128 bits of security")


def _network(program: Program, centre: Floats, half_width: Floats, rows: Floats, margin: float) -> Network:
    stages = stages_of(program)
    for stage in stages:
        if stage.second is not None:
            raise UsageError(
                f"a polynomial of degree {stage.degree} cannot be computed one row at a time",
                where=stage.name,
                hint="fit one of degree 2, or score batches of rows",
            )
    stages = balanced(stages, reach_of(stages, rows, margin))
    reach = reach_of(stages, rows, margin)
    largest = max(len(stage.offset) for stage in stages)
    widest = max(stage.weights.shape[1] for stage in stages)
    few = rows[:_ROWS]
    return Network(
        centre=centre,
        half_width=half_width,
        stages=stages,
        reads=_reads(program, stages[0]),
        gains=gains_of(stages, reach, rows[: max(16, _JACOBIANS // (largest * widest))]),
        reach=reach,
        rows=few,
        exact=through(stages, few),
    )


def _reads(program: Program, first: Stage) -> npt.NDArray[np.int32]:
    """The inputs that each of the first outputs reads, by shape alone: windows of a convolution, else all of them."""
    layer = program.layers[0]
    if isinstance(layer, Convolution) and layer.outputs == len(first.offset):
        shape = replace(layer, kernel=np.ones(layer.kernel.shape)).matrix() != 0
        # Maps that were merged into it may have widened what it reads.
        if not bool((first.weights != 0)[~shape].any()):
            found = np.full((len(shape), int(shape.sum(axis=1).max())), -1, dtype=np.int32)
            for output, row in enumerate(shape):
                inputs = np.flatnonzero(row)
                found[output, : len(inputs)] = inputs
            return found
    return np.tile(np.arange(first.weights.shape[1], dtype=np.int32), (len(first.offset), 1))


def _rounded(network: Network, degree: int, wanted: float, *, protected: bool) -> Rounded | None:
    """The cheapest moves in a ring, and few bits of weights that lose less than half of the wanted error."""
    stages, slots = network.stages, degree // 2
    count = len(stages)
    # Guesses, good enough to compare moves: a level takes three primes where noise has to be covered, else one.
    levels = [
        (3 * (count - index) + 2, 3 if index else 2) if protected else (count - index + 2, 2 - bool(index))
        for index in range(count)
    ]
    shapes = [(stage.weights.shape[0], stage.weights.shape[1]) for stage in stages]
    try:
        route = cheapest(shapes, network.reads.shape[1], slots=slots, levels=levels)
    except ValueError:  # a layer with more numbers than slots
        return None
    first = route.moves[0]
    if first.source is None:
        places = beside(first, network.reads, route.ciphertexts)
    else:
        held = first.source.places()
        places = np.where(held < len(network.centre), held, -1).astype(np.int32)[None]
    exact = [factors_of(move, stage.weights, places) for move, stage in zip(route.moves, stages, strict=True)]

    def tried(bits: list[int]) -> tuple[tuple[float, ...], float]:
        scales = tuple(_weight_scale(stage.weights, one) for stage, one in zip(stages, bits, strict=True))
        return scales, _lost(network, route, places, exact, scales)

    for least in _WEIGHT_BITS:
        # The first step has room for more, and what it does not lose the others may.
        bits = [least + (_FIRST_SPARE if index == 0 else 0) for index in range(count)]
        best = tried(bits)
        if best[1] > wanted / 2:
            continue
        for index in range(1, count):
            while (better := tried([one - (place == index) for place, one in enumerate(bits)]))[1] <= wanted / 2:
                best, bits[index] = better, bits[index] - 1
        largest, worst = _farthest(network, route, places, exact, best[0])
        return Rounded(route=route, scales=best[0], largest=largest, lost=best[1], worst=worst)
    return None


def _lost(
    network: Network, route: Route, places: npt.NDArray[np.int32], exact: list[Floats], scales: tuple[float, ...]
) -> float:
    """What rounded plaintexts lose typically: infinite where they cannot be rounded exactly."""
    if max(scale * float(np.abs(one).max()) for scale, one in zip(scales, exact, strict=True)) >= 2.0**50:
        return math.inf
    values = _beginning(network, route, places)
    for move, stage, scale, factors in zip(route.moves, network.stages, scales, exact, strict=True):
        used = slots_of(polynomials_of(factors, scale=scale), scale=scale)
        values = stage.bend(applied(move, used, values) + offsets(move, stage.offset))
    found = values.reshape(len(values), -1, route.moves[-1].target.size).sum(axis=1)[:, : network.exact.shape[1]]
    return float(np.sqrt(((found - network.exact) ** 2).mean(axis=0)).max())


def _farthest(
    network: Network, route: Route, places: npt.NDArray[np.int32], exact: list[Floats], scales: tuple[float, ...]
) -> tuple[tuple[float, ...], float]:
    """The largest number in any slot after each step, and what rounded plaintexts can lose at most."""
    values = _beginning(network, route, places)
    limit = np.ones_like(values[:1])
    off = np.zeros_like(limit)
    largest = []
    for move, stage, scale, factors in zip(route.moves, network.stages, scales, exact, strict=True):
        used = slots_of(polynomials_of(factors, scale=scale), scale=scale)
        off = applied(move, np.abs(used), off) + applied(move, np.abs(used - factors), limit)
        values = applied(move, used, values) + offsets(move, stage.offset)
        limit = _SPARE * np.abs(values).max(axis=0, keepdims=True)
        largest.append(float(limit.max()))
        if stage.slope is not None:
            off = off * (2 * limit + abs(stage.slope) + off)
            limit = limit * (limit + abs(stage.slope))
            values = values * (values + stage.slope)
    outputs = network.exact.shape[1]
    return tuple(largest), float(off.reshape(-1, route.moves[-1].target.size).sum(axis=0)[:outputs].max())


def _beginning(network: Network, route: Route, places: npt.NDArray[np.int32]) -> Floats:
    values = laid_out(places, network.rows)
    return values if route.moves[0].source is None else values[:, 0]


def _weight_scale(weights: Floats, bits: int) -> float:
    """A power of two, so that it tells no more of the weights than how large they are, roughly."""
    largest = float(np.abs(weights).max())
    return 1.0 if largest == 0.0 else float(2.0 ** math.floor(bits - math.log2(largest)))
