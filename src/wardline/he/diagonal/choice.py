"""The choice of ring, primes, scales, weights' bits and rotations for one row of a network at a time.

As in `wardline.he.network.choice`; what is different: plaintexts are polynomials whose coefficients are rounded, so
that every slot carries an error of sqrt(degree / 12) over the weights' scale; keys are switched at every rotation; and
an answer is cut down to a few coefficients, so that the noise which hides the weights meets few of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from wardline.core.errors import UsageError
from wardline.he.compiler.calibration import calibrate, unit_inputs
from wardline.he.compiler.convolution import Convolution
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Program
from wardline.he.diagonal.encoding import polynomials_of, slots_of
from wardline.he.diagonal.moves import applied, beside
from wardline.he.diagonal.plan import (
    DiagonalPlan,
    DiagonalWeights,
    StepPlan,
    factors_of,
    laid_out,
    offsets,
)
from wardline.he.diagonal.search import Route, cheapest, cost_of
from wardline.he.kernels.sampling import MOST_FLOODING_BITS
from wardline.he.network.chain import PRIME_BITS, Chain, Finder, split
from wardline.he.network.choice import DEGREES
from wardline.he.network.noise import (
    FRESH,
    SLOT_TAIL,
    Gains,
    allowance,
    gains_of,
    in_slots,
    rescaling,
    total,
)
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.network.stages import Floats, Stage, balanced, stages_of
from wardline.he.parameters import Parameters

_WEIGHT_BITS = range(12, 38, 2)
_SCALE_BITS = range(20, 96)
_OUTSIDE = 4.0
"""An output may be so many times as large as calibrated before it wraps around the modulus."""
_ROWS = 16
"""Rows that weights' bits and the bounds of slots are learned from."""
_SPARE = 1.25
"""No slot is taken to be more times as large as in those rows, in what bounds rounded weights."""
_FIRST = (PRIME_BITS, 50)
"""Bits that the first step drops at least, if it rotates: one prime or two, which leave room for digits of several."""
_GROUPS = (4, 3, 2)
"""Primes of a digit that are tried: more of them make keys smaller and switching faster, and noise larger."""
_SWITCHED = 0.5
"""Noise of switched keys may be so large a share of that of rounding."""
_JACOBIANS = 1 << 22
"""Numbers that the slopes of rows may be, which say how noise travels typically: further rows are left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Network:
    """Everything that does not depend on ring and chain."""

    centre: Floats
    half_width: Floats
    stages: tuple[Stage, ...]
    reads: npt.NDArray[np.int32]
    gains: tuple[tuple[Gains, ...], ...]
    reach: tuple[Floats, ...]
    rows: Floats
    exact: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rounded:
    """A network in one ring, with weights of so many bits."""

    route: Route
    scales: tuple[float, ...]
    largest: tuple[float, ...]
    lost: float
    worst: float


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
        for first in _FIRST if found.route.moves[0].rotations else (0,):
            for plan in _plans(network, found, degree, first, protected=protected):
                best = min(best, plan.error)
                if plan.error <= wanted:
                    fitting.append(plan)
                    break
        if fitting:
            plan = min(fitting, key=_transforms)
            return plan, DiagonalWeights.of(plan, network.stages)
    reached = "none can be had" if best == math.inf else f"the best that can be had is {best:.2g}"
    raise OverflowError(f"an error of {wanted:.2g} was asked for and {reached} within 128 bits of security")


def _network(program: Program, centre: Floats, half_width: Floats, rows: Floats, margin: float) -> _Network:
    stages = stages_of(program)
    for stage in stages:
        if stage.second is not None:
            raise UsageError(
                f"a polynomial of degree {stage.degree} cannot be computed one row at a time",
                where=stage.name,
                hint="fit one of degree 2, or score batches of rows",
            )
    stages = balanced(stages, _reach(stages, rows, margin))
    reach = _reach(stages, rows, margin)
    largest = max(len(stage.offset) for stage in stages)
    widest = max(stage.weights.shape[1] for stage in stages)
    few = rows[:_ROWS]
    return _Network(
        centre=centre,
        half_width=half_width,
        stages=stages,
        reads=_reads(program, stages[0]),
        gains=gains_of(stages, reach, rows[: max(16, _JACOBIANS // (largest * widest))]),
        reach=reach,
        rows=few,
        exact=_through(stages, few),
    )


def _reach(stages: tuple[Stage, ...], rows: Floats, margin: float) -> tuple[Floats, ...]:
    found = []
    values = rows
    for stage in stages:
        sums = stage.linear(values)
        low, high = sums.min(axis=0), sums.max(axis=0)
        wide = margin * (high - low)
        found.append(np.maximum(np.abs(low - wide), np.abs(high + wide)))
        values = stage.bend(sums)
    return tuple(found)


def _through(stages: tuple[Stage, ...], values: Floats) -> Floats:
    for stage in stages:
        values = stage.bend(stage.linear(values))
    return values


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


def _rounded(network: _Network, degree: int, wanted: float, *, protected: bool) -> _Rounded | None:
    """The cheapest moves in a ring, and the fewest bits of weights that lose less than half of the wanted error."""
    stages, slots = network.stages, degree // 2
    count = len(stages)
    # Guesses, good enough to compare moves: a level takes three primes where noise has to be covered, else one.
    levels = [
        (3 * (count - index) + 1, 3 if index else 2) if protected else (count - index + 2, 1) for index in range(count)
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
    for bits in _WEIGHT_BITS:
        scales = tuple(_weight_scale(stage.weights, bits) for stage in stages)
        if max(scale * float(np.abs(one).max()) for scale, one in zip(scales, exact, strict=True)) >= 2.0**50:
            break
        largest, lost, worst = _lost(network, route, places, exact, scales)
        if lost <= wanted / 2:
            return _Rounded(route=route, scales=scales, largest=largest, lost=lost, worst=worst)
    return None


def _lost(
    network: _Network, route: Route, places: npt.NDArray[np.int32], exact: list[Floats], scales: tuple[float, ...]
) -> tuple[tuple[float, ...], float, float]:
    """The largest number in any slot for each step, what rounded plaintexts lose typically, and what they can lose."""
    values = laid_out(places, network.rows)
    if route.moves[0].source is not None:
        values = values[:, 0]
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
    size, outputs = route.moves[-1].target.size, len(network.stages[-1].offset)
    found = values.reshape(len(values), -1, size).sum(axis=1)[:, :outputs]
    lost = float(np.sqrt(((found - network.exact) ** 2).mean(axis=0)).max())
    return tuple(largest), lost, float(off.reshape(-1, size).sum(axis=0)[:outputs].max())


def _weight_scale(weights: Floats, bits: int) -> float:
    """A power of two, so that it tells no more of the weights than how large they are, roughly."""
    largest = float(np.abs(weights).max())
    return 1.0 if largest == 0.0 else float(2.0 ** math.floor(bits - math.log2(largest)))


def _plans(network: _Network, found: _Rounded, degree: int, first: int, *, protected: bool) -> Iterator[DiagonalPlan]:
    """Plans in one ring, scales of few bits first."""
    for bits in _SCALE_BITS:
        try:
            chain = _chain(network, found, degree, (bits, first), protected=protected)
        except ValueError:  # too few primes of a size, or more bits than are secure
            continue
        plan = _with_chain(network, found, chain, protected=protected)
        if plan is not None:
            yield plan


def _transforms(plan: DiagonalPlan) -> float:
    return sum(cost_of(layer.move, layer.limbs, layer.group) for layer in plan.layers)


def _chain(network: _Network, found: _Rounded, degree: int, sizes: tuple[int, int], *, protected: bool) -> Chain:
    """Primes and scales; primes are found from the first to be dropped to the last, for exact scales.

    Args:
        network: what is computed.
        found: by which moves.
        degree: of the ring.
        sizes: bits of the scales, about, and of what is dropped first, at least.
        protected: whether there is to be room for noise.
    """
    bits, least = sizes
    fewest = (2 * degree).bit_length() + 5
    moves = found.route.moves
    summed = degree // 2 // moves[-1].target.size
    log_weights = [math.log2(one) for one in found.scales]
    # Rounding after the last step meets every slot that is summed: it has more bits to make up for it.
    wanted = [bits] * (len(moves) - 1) + [bits + round(math.log2(summed) / 2)]
    # The first drop takes the weights' scale away. Where keys are switched before it, it is larger, for room between
    # their noise and that of rounding.
    first = max(fewest, math.ceil(log_weights[0]), least)
    input_scale = 2.0 ** (wanted[0] + first - int(log_weights[0]))
    finder = Finder(degree, special=len(moves) > 1 or bool(moves[0].rotations))
    scales = [input_scale * found.scales[0] / finder.take(split(first, fewest))]
    for one, target in zip(found.scales[1:], wanted[1:], strict=True):
        product = scales[-1] ** 2 * one
        scales.append(product / finder.take(split(math.floor(math.log2(product)) - target, fewest)))
    counts = list(finder.counts)
    reply_scale = scales[-1]
    if protected:
        deviations = [FRESH / input_scale] + [1.25 * rescaling(degree) / one for one in scales]
        deviations[-1] *= math.sqrt(summed)
        noise = SLOT_TAIL * in_slots(float(total(network.gains[-1], tuple(deviations))[0].max()), degree)
        room = math.floor(
            FLOOD_BITS + math.log2(noise * scales[-1] / summed) - math.log2(math.sqrt(3) * 2 * rescaling(degree))
        )
        reply_scale /= finder.take(split(room, fewest))
    need = math.log2(2.2 * _OUTSIDE * reply_scale / summed * max(1.0, float(network.reach[-1].max())))
    finder.take(split(max(math.ceil(need), fewest), fewest, at_least=True))
    return Chain(
        parameters=finder.parameters(),
        reply=finder.counts[-1],
        flooded=finder.counts[-2] if protected else 0,
        dropped=tuple(counts),
        input_scale=input_scale,
        scales=tuple(scales),
    )


def switching(parameters: Parameters, limbs: int, group: int) -> float:
    """Deviation of a coefficient that one switch of keys adds: digits are uniform below the product of their primes.

    A digit of several primes meets the sum of their errors.
    """
    if parameters.special is None:
        return 0.0
    variance = 0.0
    for first in range(0, limbs, group):
        primes = parameters.moduli[first : min(first + group, limbs)]
        variance += len(primes) * (math.prod(primes) / parameters.special) ** 2
    return math.hypot(math.sqrt(variance * parameters.degree / 12) * FRESH, rescaling(parameters.degree))


def _own(network: _Network, found: _Rounded, chain: Chain, index: int, group: int) -> tuple[float, float]:
    """What rounding and what switches of keys add to a step's results, as deviations of a coefficient."""
    degree, move, last = chain.parameters.degree, found.route.moves[index], index + 1 == len(chain.scales)
    summed = degree // 2 // move.target.size if last else 1
    limbs, scale = chain.limbs(index), chain.scales[index]
    before = chain.input_scale if index == 0 else chain.scales[index - 1] ** 2
    once = switching(chain.parameters, limbs, group)
    behind = math.sqrt(summed * (move.folded * move.giants - 1)) * once / (before * found.scales[index])
    switches = (index > 0) + (len(move.babies) > 1)
    norm = float(np.sqrt((network.stages[index].weights ** 2).sum(axis=1)).max())
    front = math.sqrt(switches) * once * norm / before
    return math.sqrt(summed) * rescaling(degree) / scale, math.hypot(behind, front)


def _with_chain(network: _Network, found: _Rounded, chain: Chain, *, protected: bool) -> DiagonalPlan | None:
    """The plan, or None where noise is too large for its own bounds to hold, or a number for its modulus."""
    parameters, scales, count = chain.parameters, chain.scales, len(chain.scales)
    degree = parameters.degree
    deviations = [FRESH / chain.input_scale]
    layers: list[StepPlan] = []
    bound = np.zeros(1)
    for index, (stage, gains, move) in enumerate(zip(network.stages, network.gains, found.route.moves, strict=True)):
        limbs, last = chain.limbs(index), index + 1 == count
        added = {one: _own(network, found, chain, index, one) for one in (*_GROUPS, 1) if one <= limbs}
        group = next((one for one, (own, switched) in added.items() if switched <= _SWITCHED * own), 1)
        deviations.append(math.hypot(*added[group]))
        bound, typical = total(gains, tuple(deviations))
        far = SLOT_TAIL * in_slots(1.0, degree) * bound
        reach = network.reach[index]
        if stage.slope is not None and bool((far > allowance(reach)).any()):
            return None
        before = math.prod(parameters.moduli[:limbs])
        source = chain.input_scale if index == 0 else scales[index - 1] ** 2
        if not last:
            largest = max(_OUTSIDE * float(reach.max()), _OUTSIDE / 2 * found.largest[index])
            if 2 * found.scales[index] * source * largest > before:
                return None
        # Half of the coefficients are told: an output has noise of its real part and of the imaginary one.
        mixed = math.sqrt(2 - 1 / move.target.size) if last else 1.0
        layers.append(
            StepPlan(
                name=stage.name,
                inputs=stage.weights.shape[1],
                outputs=stage.weights.shape[0],
                move=move,
                limbs=limbs,
                dropped=chain.dropped[index],
                group=group,
                weight_scale=found.scales[index],
                scale=scales[index],
                squared=stage.slope is not None,
                error=mixed * in_slots(float(typical.max()), degree),
                bound=mixed * float(far.max()),
            )
        )
    return _finished(network, found, chain, tuple(layers), float(bound.max()), protected=protected)


def _finished(
    network: _Network, found: _Rounded, chain: Chain, layers: tuple[StepPlan, ...], bound: float, *, protected: bool
) -> DiagonalPlan | None:
    parameters, room = chain.parameters, layers[-1].move.target.size
    degree, last = parameters.degree, layers[-1]
    summed = degree // 2 // room
    scale = chain.scales[-1] / summed
    reply_scale = chain.scales[-1] / math.prod(parameters.moduli[chain.reply : chain.reply + chain.flooded])
    flood_bits, flood, others = None, 0.0, 0.0
    if protected:
        # However the noise of outputs hangs together, a coefficient is a mean of them.
        flood_bits = FLOOD_BITS + max(0, math.ceil(math.log2(SLOT_TAIL * in_slots(bound, degree) * scale)))
        zero = FRESH * math.sqrt(4 / 3 * degree + 1) / scale
        dropping = rescaling(degree) / (reply_scale / summed) if chain.flooded else 0.0
        # Of a polynomial with so few coefficients a slot is a sum of twice as many, less one, as are told.
        flood = 2.0**flood_bits / math.sqrt(3) / scale * math.sqrt(2 * room)
        others = math.hypot(zero, dropping) * math.sqrt(2 * room)
    noise, most = math.hypot(last.error, flood, others), last.bound + SLOT_TAIL * math.hypot(flood, others)
    step = 2.0 ** math.ceil(math.log2(2 * noise))
    reach = float(network.reach[-1].max())
    if flood_bits is not None and flood_bits > MOST_FLOODING_BITS:
        return None
    modulus = math.prod(parameters.moduli[: chain.reply])
    if 2 * reply_scale / summed * (_OUTSIDE / 2 * reach + most) > modulus or noise > reach:
        return None
    source = found.route.moves[0].source
    return DiagonalPlan(
        parameters=parameters,
        centre=network.centre,
        half_width=network.half_width,
        ciphertexts=found.route.ciphertexts,
        reads=network.reads if source is None else None,
        input_scale=chain.input_scale,
        layers=layers,
        reply_limbs=chain.reply,
        reply_scale=reply_scale,
        flood_bits=flood_bits,
        reach=reach,
        error=math.sqrt(found.lost**2 + noise**2 + step**2 / 12),
        worst=found.worst + most + step / 2,
        step=step,
    )
