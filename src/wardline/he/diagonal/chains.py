"""Primes and scales for one row of a network at a time, and what noise they leave.

As in `wardline.he.network.choice`; what is different: keys are switched at every rotation, in digits of several primes
where their noise may be so large; and an answer is cut down to a few coefficients, so that the noise which hides the
weights meets few of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.he.diagonal.plan import DiagonalPlan, StepPlan
from wardline.he.diagonal.search import Route, cost_of
from wardline.he.kernels.sampling import MOST_FLOODING_BITS
from wardline.he.network.chain import PRIME_BITS, Chain, Finder, split
from wardline.he.network.noise import FRESH, SLOT_TAIL, Gains, allowance, in_slots, rescaling, total
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.network.stages import Floats, Stage
from wardline.he.parameters import Parameters

_SCALE_BITS = range(20, 96)
_OUTSIDE = 4.0
"""An output may be so many times as large as calibrated before it wraps around the modulus."""
_GROUPS = (4, 3, 2)
"""Primes of a digit that are tried: more of them make keys smaller and switching faster, and noise larger."""
_SWITCHED = 0.5
"""Noise of switched keys may be so large a share of that of rounding."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Everything that does not depend on ring and primes.

    Attributes:
        centre, half_width: of the inputs' ranges.
        stages: balanced.
        reads: inputs that each of the first outputs reads.
        gains: of noise, as `gains_of`.
        reach: the largest results of each stage.
        rows: typical inputs, scaled.
        exact: what they give.
    """

    centre: Floats
    half_width: Floats
    stages: tuple[Stage, ...]
    reads: npt.NDArray[np.int32]
    gains: tuple[tuple[Gains, ...], ...]
    reach: tuple[Floats, ...]
    rows: Floats
    exact: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounded:
    """A network in one ring, with its weights rounded.

    Attributes:
        route: its moves.
        scales: of each step's weights.
        largest: the largest number in any slot after each step.
        lost: what rounding weights costs typically.
        worst: and at most.
    """

    route: Route
    scales: tuple[float, ...]
    largest: tuple[float, ...]
    lost: float
    worst: float


def plans(
    network: Network, found: Rounded, degree: int, sizes: tuple[int, int], *, protected: bool
) -> Iterator[DiagonalPlan]:
    """Plans in one ring, scales of few bits first.

    Args:
        network: what is computed.
        found: by which moves.
        degree: of the ring.
        sizes: bits of what is dropped first, at least, and by how many bits a scale may be larger if that takes a prime
            less.
        protected: whether there is to be room for noise.
    """
    for bits in _SCALE_BITS:
        try:
            chain = _chain(network, found, degree, (bits, *sizes), protected=protected)
        except ValueError:  # too few primes of a size, or more bits than are secure
            continue
        plan = _with_chain(network, found, chain, protected=protected)
        if plan is not None:
            yield plan


def transforms(plan: DiagonalPlan) -> float:
    """What a plan costs, counted as `search.cost_of` does."""
    return sum(cost_of(layer.move, layer.limbs, layer.group) for layer in plan.layers)


def _chain(network: Network, found: Rounded, degree: int, sizes: tuple[int, int, int], *, protected: bool) -> Chain:
    """Primes and scales; primes are found from the first to be dropped to the last, for exact scales.

    Args:
        network: what is computed.
        found: by which moves.
        degree: of the ring.
        sizes: bits of the scales, about, of what is dropped first, at least, and by how many bits a scale may be larger
            if that takes a prime less.
        protected: whether there is to be room for noise.
    """
    bits, least, spare = sizes
    fewest = (2 * degree).bit_length() + 5
    moves = found.route.moves
    summed = degree // 2 // moves[-1].target.size
    log_weights = [math.log2(one) for one in found.scales]
    # Rounding after the last step meets every slot that is summed: it has more bits to make up for it.
    wanted = [bits] * (len(moves) - 1) + [bits + round(math.log2(summed) / 2)]
    # The first drop takes the weights' scale away. Where keys are switched before it, it is larger, for room between
    # their noise and that of rounding.
    size = max(math.ceil(log_weights[0]), least, fewest)
    first = split(size, fewest, at_least=not spare)
    input_scale = 2.0 ** (wanted[0] + max(size, sum(first)) - int(log_weights[0]))
    finder = Finder(degree, special=len(moves) > 1 or bool(moves[0].rotations))
    scales = [input_scale * found.scales[0] / finder.take(first)]
    for one, target in zip(found.scales[1:], wanted[1:], strict=True):
        product = scales[-1] ** 2 * one
        dropped = math.floor(math.log2(product)) - target
        if dropped > PRIME_BITS and dropped % PRIME_BITS <= spare:
            dropped -= dropped % PRIME_BITS
        scales.append(product / finder.take(split(dropped, fewest)))
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


def _own(network: Network, found: Rounded, chain: Chain, index: int, group: int) -> tuple[float, float]:
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


def _with_chain(network: Network, found: Rounded, chain: Chain, *, protected: bool) -> DiagonalPlan | None:
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
    network: Network, found: Rounded, chain: Chain, layers: tuple[StepPlan, ...], bound: float, *, protected: bool
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
