"""The choice of ring, primes, scales and weights' bits for a network: the smallest that reaches a precision.

A stage's primes are dropped together, so that scales need not be as small as a prime. The noise that hides the weights
decides how large they are: it stands 40 bits above all that tells of weights, and an answer stands above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from wardline.core import UsageError
from wardline.he.compiler.calibration import calibrate, unit_inputs
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Program
from wardline.he.kernels.sampling import MOST_FLOODING_BITS
from wardline.he.network.chain import Chain, Finder, split
from wardline.he.network.noise import (
    FRESH,
    SLOT_TAIL,
    TAIL,
    Gains,
    allowance,
    first_reach,
    gains_of,
    in_slots,
    relinearising,
    rescaling,
    rounding_bounds,
    total,
)
from wardline.he.network.plan import FLOOD_BITS, LayerPlan, NetworkPlan, NetworkWeights, SecondPlan, SecretLayer
from wardline.he.network.stages import (
    Floats,
    Stage,
    balanced,
    blocks_of,
    groups_of,
    most_live,
    reach_of,
    stages_of,
    through,
)

DEGREES = (4096, 8192, 16384, 32768)

_WEIGHT_BITS = range(6, 25)
_SCALE_BITS = range(20, 96)
_OUTSIDE = 4.0
"""An output may be so many times as large as calibrated before it wraps around the modulus."""
_JACOBIANS = 1 << 22
"""Numbers that the slopes of rows may be, which say how noise travels typically: further rows are left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Network:
    """Everything that does not depend on the chain.

    Gains are those of steps: see `gains_of`. The steps are numbers of stages, and whether it is their first product.
    """

    centre: Floats
    half_width: Floats
    rounded: tuple[Stage, ...]
    weight_scales: tuple[float, ...]
    weights: tuple[npt.NDArray[np.int64], ...]
    steps: tuple[tuple[int, bool], ...]
    gains: tuple[tuple[Gains, ...], ...]
    reach: tuple[Floats, ...]
    live: int
    lost: float
    worst: float


class _BrokenError(Exception):
    """Numbers of a stage that a chain does not bear."""

    def __init__(self, stage: int) -> None:
        super().__init__(stage)
        self.stage = stage


def plan_network(
    program: Program, sample: npt.NDArray[np.float64], *, error: float | None = None, margin: float = 0.1
) -> tuple[NetworkPlan, NetworkWeights]:
    """Choose everything for a protected network.

    Args:
        program: linear maps and polynomials of degree 2 to 4, which may differ from layer to layer.
        sample: typical rows [rows, inputs] or of the program's input shape, at least two; ranges and predicted errors
            are learned from them.
        error: the greatest standard deviation of an output's error that is wanted, above 0; None takes two thousandths
            of the outputs' own spread over the sample.
        margin: by which share of its width each range is widened on both sides.

    Raises:
        UsageError: for a layer that cannot be computed, or that lies deeper than any ring bears.
        DataError: for a sample that cannot be calibrated on.
        ValueError: for arguments out of range.
        OverflowError: if no ring of 128 bits of security reaches the error.

    Guarantee: the plan's noise makes replies independent of the weights as said at `evaluation.replies`. The bound on
    what the noise must cover holds for rows within the calibrated ranges, rounding errors that are independent and
    uniform (see `noise`), and nine standard deviations.
    """
    return _plan(program, sample, error, margin, protected=True)


def unsafe_plan_unprotected_network(
    program: Program, sample: npt.NDArray[np.float64], *, error: float | None = None, margin: float = 0.1
) -> tuple[NetworkPlan, NetworkWeights]:
    """The same without any protection of the weights, in a smaller ring: for comparisons, and for attacks to succeed.

    Whoever decrypts an answer sees noise that depends on the weights, and second parts that are functions of them. See
    `plan_network`.
    """
    return _plan(program, sample, error, margin, protected=False)


def _plan(
    program: Program, sample: npt.NDArray[np.float64], error: float | None, margin: float, *, protected: bool
) -> tuple[NetworkPlan, NetworkWeights]:
    if error is not None and not (math.isfinite(error) and error > 0):
        raise ValueError("error must be finite and above 0")
    plain = simplify(program)
    rows = plain.rows(sample)
    ranges = calibrate(plain, rows, margin=margin).ranges[0]
    scaled, scaling = unit_inputs(plain, ranges)
    unit = np.clip(scaling.apply(rows), -1.0, 1.0)
    outputs = plain.evaluate(rows)
    wanted = 2e-3 * float(np.sqrt(outputs.var(axis=0).mean())) if error is None else error
    if wanted == 0.0:
        raise ValueError("the outputs are the same for all rows of the sample: say which error is wanted")
    network = _rounded(stages_of(scaled), scaling.centre, scaling.half_width, unit, wanted, margin)
    best, deepest = math.inf, 0
    for degree in DEGREES:
        for bits in _SCALE_BITS:
            try:
                plan = _with_chain(network, _chain(network, degree, bits, protected=protected), protected=protected)
            except _BrokenError as broken:
                deepest = max(deepest, broken.stage)
                continue
            best = min(best, plan.error)
            if plan.error <= wanted:
                return plan, _secret(network)
    if best == math.inf and len(network.rounded) > 1:
        raise _too_deep(network.rounded, deepest)
    reached = "none can be had" if best == math.inf else f"the best that can be had is {best:.2g}"
    raise OverflowError(f"an error of {wanted:.2g} was asked for and {reached} within 128 bits of security")


def _too_deep(stages: tuple[Stage, ...], deepest: int) -> UsageError:
    degrees = ", ".join(str(stage.degree) for stage in stages[:-1])
    return UsageError(
        f"layer {deepest + 1} of {len(stages)} lies deeper than any ring of 128 bits of security bears; the degrees of "
        f"the polynomials are {degrees}",
        where=stages[deepest].name,
        hint="use polynomials of a lower degree (he.friendly puts them in and trains the model on), or fewer layers",
    )


def _secret(network: _Network) -> NetworkWeights:
    blocks = blocks_of(groups_of(network.rounded[0].weights))
    return NetworkWeights(
        layers=tuple(
            SecretLayer(
                weights=weights,
                weight_scale=scale,
                offset=stage.offset,
                slope=stage.slope,
                blocks=blocks if index == 0 else (),
                second=stage.second,
            )
            for index, (weights, scale, stage) in enumerate(
                zip(network.weights, network.weight_scales, network.rounded, strict=True)
            )
        )
    )


def _rounded(
    stages: tuple[Stage, ...], centre: Floats, half_width: Floats, rows: Floats, wanted: float, margin: float
) -> _Network:
    """The fewest bits of the weights that lose less than half of the wanted error."""
    stages = balanced(stages, reach_of(stages, rows, margin))
    reach = reach_of(stages, rows, margin)
    exact = through(stages, rows)
    for bits in _WEIGHT_BITS:
        scales = tuple(_weight_scale(stage.weights, bits) for stage in stages)
        weights = tuple(
            np.rint(stage.weights * scale).astype(np.int64) for stage, scale in zip(stages, scales, strict=True)
        )
        rounded = tuple(
            replace(stage, weights=one / scale) for stage, one, scale in zip(stages, weights, scales, strict=True)
        )
        lost = float(np.sqrt(((through(rounded, rows) - exact) ** 2).mean(axis=0)).max())
        if lost <= wanted / 2:
            break
    else:
        raise OverflowError(f"an error of {wanted:.2g} was asked for and rounded weights alone lose {lost:.2g}")
    largest = max(len(stage.offset) for stage in stages[1:]) if len(stages) > 1 else 1
    widest = max(stage.weights.shape[1] for stage in stages)
    few = rows[: max(16, _JACOBIANS // (largest * widest))]
    limit = (np.ones(rows.shape[1]), *reach)
    return _Network(
        centre=centre,
        half_width=half_width,
        rounded=rounded,
        weight_scales=scales,
        weights=weights,
        steps=tuple(
            (index, first)
            for index, stage in enumerate(rounded)
            for first in ((False,) if stage.second is None else (False, True))
        ),
        gains=gains_of(rounded, reach, few),
        reach=reach,
        live=most_live(blocks_of(groups_of(rounded[0].weights))),
        lost=lost,
        worst=float(rounding_bounds(stages, rounded, limit).max()),
    )


def _weight_scale(weights: Floats, bits: int) -> float:
    """A power of two, so that it tells no more of the weights than how large they are, roughly."""
    largest = float(np.abs(weights).max())
    if largest == 0.0 or (largest < 2 ** (bits - 1) and bool((weights == np.rint(weights)).all())):
        return 1.0
    return float(2.0 ** math.floor(math.log2((2 ** (bits - 1) - 1) / largest)))


def _chain(network: _Network, degree: int, bits: int, *, protected: bool) -> Chain:
    """Scales of about so many bits; primes are found from the first to be dropped to the last, for exact scales.

    Raises:
        _BrokenError: for the stage where there are too few primes of a size, or more bits than are secure.
    """
    fewest = (2 * degree).bit_length() + 5
    log_weights = [math.log2(one) for one in network.weight_scales]
    # The first drop takes the weights' scale away, and what the inputs' one was raised for that a prime fits.
    first = 0 if log_weights[0] == 0 else max(fewest, math.ceil(log_weights[0]))
    input_scale = 2.0 ** (bits + first - int(log_weights[0]))
    finder = Finder(degree, special=len(log_weights) > 1)
    scales: list[float] = []
    for step, (stage, _) in enumerate(network.steps):
        product = _product(network, step, input_scale, scales)
        sizes = split(math.floor(math.log2(product)) - bits, fewest) if step else ((first,) if first else ())
        scales.append(product / _taken(finder, sizes, stage))
    counts = list(finder.counts)
    reply_scale = scales[-1]
    last = len(network.rounded) - 1
    if protected:
        limbs = [sum(counts[index:]) + 3 for index in range(len(counts))]
        deviations = _deviations(network, degree, input_scale, tuple(scales), limbs)
        noise = TAIL * float(total(network.gains[-1], deviations)[0].max()) * scales[-1]
        room = math.floor(FLOOD_BITS + math.log2(noise) - math.log2(math.sqrt(3) * 2 * rescaling(degree)))
        reply_scale /= _taken(finder, split(room, fewest), last)
    # SEAL decrypts nothing whose scale is half of the modulus or more, however small the outputs are.
    need = math.log2(2.2 * reply_scale * max(_OUTSIDE * float(network.reach[-1].max()), 1.0))
    _taken(finder, split(math.ceil(need), fewest, at_least=True), last)
    try:
        parameters = finder.parameters()
    except ValueError as error:
        raise _BrokenError(last) from error
    return Chain(
        parameters=parameters,
        reply=finder.counts[-1],
        flooded=finder.counts[-2] if protected else 0,
        dropped=tuple(counts),
        input_scale=input_scale,
        scales=tuple(scales),
    )


def _taken(finder: Finder, sizes: tuple[int, ...], stage: int) -> int:
    try:
        return finder.take(sizes)
    except ValueError as error:
        raise _BrokenError(stage) from error


def _product(network: _Network, step: int, input_scale: float, scales: Sequence[float]) -> float:
    """The scale of what a step drops primes of, from the scales of the steps before it."""
    stage, first = network.steps[step]
    if step == 0:
        return input_scale * network.weight_scales[0]
    if first or network.rounded[stage - 1].degree != 3:
        bent = scales[step - 1] ** 2
    else:
        bent = scales[step - 1] * scales[step - 2]
    return bent if first else bent * network.weight_scales[stage]


def _deviations(
    network: _Network, degree: int, input_scale: float, scales: Sequence[float], limbs: list[int]
) -> tuple[float, ...]:
    """Of a coefficient, where noise arises: of the inputs, then of every step's results."""
    found = [FRESH / input_scale]
    for index, scale in enumerate(scales):
        own = rescaling(degree) / scale
        if index:
            before = _product(network, index, input_scale, scales)
            own = math.hypot(own, relinearising(degree, limbs[index]) / before)
        found.append(own)
    return tuple(found)


def _with_chain(network: _Network, chain: Chain, *, protected: bool) -> NetworkPlan:
    """The plan.

    Raises:
        _BrokenError: for the stage where noise is too large for its own bounds to hold, or a number for its modulus.
    """
    parameters, scales = chain.parameters, chain.scales
    degree = parameters.degree
    limbs = [chain.limbs(step) for step in range(len(scales))]
    deviations = _deviations(network, degree, chain.input_scale, scales, limbs)
    layers: list[LayerPlan] = []
    for step, ((index, first), gains) in enumerate(zip(network.steps, network.gains, strict=True)):
        stage, reach = network.rounded[index], network.reach[index]
        if first:
            reach = first_reach(stage, reach)
        bound, typical = total(gains, deviations[: step + 2])
        far = SLOT_TAIL * in_slots(1.0, degree) * bound
        if stage.slope is not None and bool((far > allowance(reach)).any()):
            raise _BrokenError(index)
        before = math.prod(parameters.moduli[: limbs[step]])
        if 2 * _OUTSIDE * _product(network, step, chain.input_scale, scales) * float(reach.max()) > before:
            raise _BrokenError(index)
        error, most = in_slots(float(typical.max()), degree), float(far.max())
        if first:
            layers[-1] = replace(
                layers[-1],
                second=SecondPlan(
                    degree=stage.degree, dropped=chain.dropped[step], scale=scales[step], error=error, bound=most
                ),
            )
            continue
        layers.append(
            LayerPlan(
                name=stage.name,
                inputs=stage.weights.shape[1],
                outputs=stage.weights.shape[0],
                live=stage.weights.shape[1] if index else network.live,
                limbs=limbs[step],
                dropped=chain.dropped[step],
                weight_scale=network.weight_scales[index],
                scale=scales[step],
                squared=stage.slope is not None,
                error=error,
                bound=most,
            )
        )
    plan = _finished(network, chain, tuple(layers), float(bound.max()), protected=protected)
    if plan is None:
        raise _BrokenError(len(network.rounded) - 1)
    return plan


def _finished(
    network: _Network, chain: Chain, layers: tuple[LayerPlan, ...], bound: float, *, protected: bool
) -> NetworkPlan | None:
    parameters, scale = chain.parameters, chain.scales[-1]
    degree, last = parameters.degree, layers[-1]
    reply_moduli = parameters.moduli[: chain.reply]
    reply_scale = scale / math.prod(parameters.moduli[chain.reply : chain.reply + chain.flooded])
    flood_bits, flood, others = None, 0.0, 0.0
    if protected:
        flood_bits = FLOOD_BITS + max(0, math.ceil(math.log2(TAIL * bound * scale)))
        zero = FRESH * math.sqrt(4 / 3 * degree + 1) / scale
        dropping = rescaling(degree) / reply_scale if chain.flooded else 0.0
        flood = in_slots(2.0**flood_bits / math.sqrt(3) / scale, degree)
        others = in_slots(math.hypot(zero, dropping), degree)
    noise, most = math.hypot(last.error, flood, others), last.bound + TAIL * flood + SLOT_TAIL * others
    step = 2.0 ** math.ceil(math.log2(2 * noise))
    reach = float(network.reach[-1].max())
    if flood_bits is not None and flood_bits > MOST_FLOODING_BITS:
        return None
    if 2 * reply_scale * (_OUTSIDE / 2 * reach + most) > math.prod(reply_moduli) or noise > reach:
        return None
    return NetworkPlan(
        parameters=parameters,
        centre=network.centre,
        half_width=network.half_width,
        input_scale=chain.input_scale,
        layers=layers,
        reply_limbs=chain.reply,
        reply_scale=reply_scale,
        flood_bits=flood_bits,
        reach=reach,
        error=math.sqrt(network.lost**2 + noise**2 + step**2 / 12),
        worst=network.worst + most + step / 2,
        step=step,
    )
