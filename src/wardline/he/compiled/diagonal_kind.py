"""Networks that score one row at a time: their plans as JSON, and what a server does."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from wardline.crypto.strict import exact_object
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKeys
from wardline.he.compiled.evaluator import KindEvaluator
from wardline.he.compiled.kinds import Floats, Keys, Shape, range_lines
from wardline.he.compiled.network_kind import MOST_LAYERS, MOST_WIDTH
from wardline.he.compiled.public_model import PublicModel
from wardline.he.diagonal.evaluation import replies
from wardline.he.diagonal.keys import GatheredKeys, gathered
from wardline.he.diagonal.moves import MOST_SLOTS, MOST_STEPS, Layout, Move
from wardline.he.diagonal.moves import Kind as LayoutKind
from wardline.he.diagonal.plan import MOST_CIPHERTEXTS, DiagonalPlan, DiagonalWeights, StepPlan
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.json_numbers import number, numbers, whole
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.network.stages import Stage
from wardline.he.parameters import Parameters
from wardline.he.ranges import coarse, outside

_LARGEST_SCALE = 2.0**400
_SETTINGS = ("input_scale", "reply_scale", "step")
_TOLD = ("reach", "error", "worst")
_REALS = (*_SETTINGS, *_TOLD)
_NAMES = frozenset(
    {"parameters", "centre", "half_width", "ciphertexts", "reads", "layers", "reply_limbs", "flood_bits", *_REALS}
)
_SCALES = ("weight_scale", "scale")
_ERRORS = ("error", "bound")
_LAYER_NAMES = frozenset(
    {"name", "inputs", "outputs", "move", "limbs", "dropped", "group", "squared", *_SCALES, *_ERRORS}
)
_MOVE_NAMES = frozenset({"source", "target", "babies", "giants", "stride", "folds", "last"})
_LAYOUT_NAMES = frozenset({"kind", "size", "slots", "valid"})
_SLOPE = struct.Struct("<d")


class DiagonalKind:
    """See `wardline.he.compiled.kinds.PublicKind`."""

    def to_json(self, plan: DiagonalPlan) -> dict[str, Any]:
        """A plan as JSON values: of a protected network alone."""
        if plan.flood_bits is None:
            raise ValueError("the plan has no protection: its model must not be given away")
        return {
            "parameters": plan.parameters.to_json(),
            "centre": plan.centre.tolist(),
            "half_width": plan.half_width.tolist(),
            "ciphertexts": plan.ciphertexts,
            "reads": None if plan.reads is None else plan.reads.tolist(),
            "layers": [_layer_json(layer) for layer in plan.layers],
            "reply_limbs": plan.reply_limbs,
            "flood_bits": plan.flood_bits,
            **{name: getattr(plan, name) for name in _SETTINGS},
            **{name: coarse(getattr(plan, name)) for name in _TOLD},
        }

    def from_json(self, value: object) -> DiagonalPlan:
        """Read `to_json` back; how layers fit each other is looked at by the plan itself."""
        found = exact_object(value, _NAMES, what="the plan")
        parameters = Parameters.from_json(found["parameters"])
        listed, limbs = found["layers"], len(parameters.moduli)
        if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_LAYERS:
            raise ValueError(f"a network has 1 to {MOST_LAYERS} layers")
        plan = DiagonalPlan(
            parameters=parameters,
            centre=numbers(found["centre"], most=MOST_WIDTH),
            half_width=numbers(found["half_width"], most=MOST_WIDTH, above_zero=True),
            ciphertexts=whole(found["ciphertexts"], 1, MOST_CIPHERTEXTS),
            reads=None if found["reads"] is None else _reads(found["reads"]),
            layers=tuple(_layer(one, limbs) for one in listed),
            reply_limbs=whole(found["reply_limbs"], 1, limbs),
            flood_bits=whole(found["flood_bits"], FLOOD_BITS, math.prod(parameters.moduli).bit_length() - 1),
            **{name: number(found[name], above_zero=True, most=_LARGEST_SCALE) for name in _REALS},
        )
        _check(plan)
        return plan

    def columns(self, plan: DiagonalPlan) -> Shape:
        """The few ciphertexts of a row."""
        limbs = len(plan.parameters.moduli)
        return Shape(ciphertexts=plan.ciphertexts, limbs=limbs, form="evaluations", scale=plan.input_scale)

    def replies(self, plan: DiagonalPlan) -> Shape:
        """One ciphertext for all outputs."""
        scale = plan.reply_scale / plan.repeated
        return Shape(ciphertexts=1, limbs=plan.reply_limbs, form="evaluations", scale=scale)

    def keys(self, plan: DiagonalPlan) -> Keys:
        """One for each rotation, and one to relinearise."""
        return Keys(relinearisation=plan.relinearises, steps=plan.steps)

    def charged(self, plan: DiagonalPlan, rows: int) -> int:
        """Every row for itself."""
        return plan.charged(rows)

    def outside(self, plan: DiagonalPlan, rows: Floats) -> int:
        """How many rows have a number outside of its range."""
        return outside(plan, rows)

    def describe_inputs(self, plan: DiagonalPlan, names: Sequence[str]) -> list[str]:
        """Ranges."""
        return range_lines(plan, names)

    def determined_by(self, plan: DiagonalPlan) -> str:
        """As many outputs as there are weights, at the latest."""
        weights = sum(layer.outputs * (layer.inputs + 1) for layer in plan.layers)
        return (
            f"about {-(-weights // plan.outputs)} rows give as many numbers as the network has weights at most, and a "
            "copy that decides alike needs fewer: meter rows"
        )


class DiagonalEvaluator(KindEvaluator):
    """A network on one row at a time."""

    __slots__ = ()

    @property
    def _plan(self) -> DiagonalPlan:
        plan = self.public.plan
        if not isinstance(plan, DiagonalPlan):
            raise TypeError("the plan is that of another kind of model")
        return plan

    def ready(self, keys: SeededKeys) -> GatheredKeys:
        """Keys as the plan needs them: made once for a client, which takes longer than a row."""
        return gathered(self._plan, expand_keys(keys))

    def _check_secret(self) -> None:
        if len(self.secret.layers) != len(self._plan.layers):
            raise ValueError("the weights do not fit the plan")

    def _answers(
        self, columns: SeededColumns, keys: GatheredKeys, *, rows: int, threads: int
    ) -> tuple[Ciphertext, ...]:
        return replies(columns, keys, plan=self._plan, secret=self.secret, threads=threads)


class DiagonalServer:
    """See `wardline.he.compiled.kinds.ServerKind`."""

    def evaluator(self, public: PublicModel, secret: DiagonalWeights) -> DiagonalEvaluator:
        """Computes on ciphertexts."""
        return DiagonalEvaluator(public=public, secret=secret)

    def pack(self, secret: DiagonalWeights) -> bytes:
        """For each layer its slope, weights [outputs, inputs] and offsets [outputs], all of them f64."""
        return b"".join(
            _SLOPE.pack(one.slope or 0.0) + one.weights.astype("<f8").tobytes() + one.offset.astype("<f8").tobytes()
            for one in secret.stages
        )

    def packed_bytes(self, plan: DiagonalPlan) -> int:
        """The length of `pack`."""
        return sum(8 * (1 + one.outputs * (one.inputs + 1)) for one in plan.layers)

    def unpack(self, content: bytes, plan: DiagonalPlan) -> DiagonalWeights:
        """Read `pack` back; raises `ValueError` for what does not fit the plan."""
        if len(content) != self.packed_bytes(plan):
            raise ValueError("there are more or fewer weights than the plan has")
        values, at, stages = np.frombuffer(content, dtype="<f8").astype(np.float64), 0, []
        if not np.isfinite(values).all():
            raise ValueError("a number of the weights is not finite")
        for layer in plan.layers:
            slope, count = float(values[at]), layer.outputs * layer.inputs
            weights, offset = values[at + 1 : at + 1 + count], values[at + 1 + count : at + 1 + count + layer.outputs]
            at += 1 + count + layer.outputs
            if slope and not layer.squared:
                raise ValueError("the weights have polynomials where the plan has none")
            stages.append(
                Stage(
                    name=layer.name,
                    weights=weights.reshape(layer.outputs, layer.inputs),
                    offset=offset,
                    slope=slope if layer.squared else None,
                )
            )
        return DiagonalWeights.of(plan, tuple(stages))


def _layer_json(layer: StepPlan) -> dict[str, Any]:
    move = layer.move
    return {
        "name": layer.name,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "move": {
            "source": None if move.source is None else _layout_json(move.source),
            "target": _layout_json(move.target),
            "babies": list(move.babies),
            "giants": move.giants,
            "stride": move.stride,
            "folds": [list(fold) for fold in move.folds],
            "last": move.last,
        },
        "limbs": layer.limbs,
        "dropped": layer.dropped,
        "group": layer.group,
        "squared": layer.squared,
        **{name: getattr(layer, name) for name in _SCALES},
        **{name: coarse(getattr(layer, name)) for name in _ERRORS},
    }


def _layout_json(layout: Layout) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in sorted(_LAYOUT_NAMES)}


def _layer(value: object, most_limbs: int) -> StepPlan:
    found = exact_object(value, _LAYER_NAMES, what="a layer")
    if not isinstance(found["name"], str) or len(found["name"]) > 512 or not isinstance(found["squared"], bool):
        raise ValueError("a layer has a name, and is squared or not")
    return StepPlan(
        name=found["name"],
        inputs=whole(found["inputs"], 1, MOST_WIDTH),
        outputs=whole(found["outputs"], 1, MOST_WIDTH),
        move=_move(found["move"]),
        limbs=whole(found["limbs"], 1, most_limbs),
        dropped=whole(found["dropped"], 0, most_limbs - 1),
        group=whole(found["group"], 1, most_limbs),
        squared=found["squared"],
        **{name: number(found[name], above_zero=True, most=_LARGEST_SCALE) for name in _SCALES},
        **{name: number(found[name]) for name in _ERRORS},
    )


def _move(value: object) -> Move:
    found = exact_object(value, _MOVE_NAMES, what="a move")
    folds = found["folds"]
    if not isinstance(folds, list) or len(folds) > MOST_STEPS or not isinstance(found["last"], bool):
        raise ValueError("a move has folds, and is the last one or not")
    return Move(
        source=None if found["source"] is None else _layout(found["source"]),
        target=_layout(found["target"]),
        babies=_steps(found["babies"]),
        giants=whole(found["giants"], 1, MOST_SLOTS),
        stride=whole(found["stride"], -MOST_SLOTS, MOST_SLOTS),
        folds=tuple(_steps(fold) for fold in folds),
        last=found["last"],
    )


def _layout(value: object) -> Layout:
    found = exact_object(value, _LAYOUT_NAMES, what="a layout")
    if found["kind"] not in get_args(LayoutKind):
        raise ValueError("a layout is of no known kind")
    sizes = {name: whole(found[name], 0, MOST_SLOTS) for name in ("size", "slots", "valid")}
    return Layout(kind=found["kind"], **sizes)


def _steps(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MOST_STEPS:
        raise ValueError(f"steps are a list of at most {MOST_STEPS}")
    return tuple(whole(one, -MOST_SLOTS, MOST_SLOTS) for one in value)


def _reads(value: object) -> Any:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_WIDTH:
        raise ValueError("the readings of a first layer are a list for each output")
    lengths = {len(one) if isinstance(one, list) else 0 for one in value}
    if len(lengths) != 1 or not 1 <= min(lengths) <= MOST_WIDTH:
        raise ValueError("every output of the first layer has as many readings")
    return np.array([[whole(place, -1, MOST_WIDTH) for place in one] for one in value], dtype=np.int32)


def _check(plan: DiagonalPlan) -> None:
    """What holds between the numbers of a plan that was chosen and not made up."""
    moduli, last = plan.parameters.moduli, plan.layers[-1]
    bits, reply_bits = (sum(map(math.log2, some)) for some in (moduli, moduli[: plan.reply_limbs]))
    if len(plan.centre) != len(plan.half_width):
        raise ValueError("centres and widths are not as many")
    if math.log2(plan.input_scale) + 2 > bits or math.log2(plan.reply_scale / plan.repeated) + 1 > reply_bits:
        raise ValueError("a scale does not fit its moduli")
    flooded = math.prod(moduli[plan.reply_limbs : last.limbs - last.dropped])
    if not math.isclose(plan.reply_scale * flooded, last.scale, rel_tol=1e-9):
        raise ValueError("the reply's scale is not that of the last layer")
    assert plan.flood_bits is not None
    noise = 2.0**plan.flood_bits / math.sqrt(3) / (last.scale / plan.repeated) * math.sqrt(2 * plan.room)
    # By the plan's own words, as for a network; a bound is that of an output, of which half of the coefficients tell,
    # and an eighth too large at most.
    mixed = math.sqrt(2 - 1 / plan.room)
    if 2.0**plan.flood_bits < 2.0**FLOOD_BITS * last.bound * 8 / 9 / mixed * last.scale / plan.repeated * (1 - 1e-9):
        raise ValueError("the noise that is added to replies would not hide the weights")
    if math.frexp(plan.step)[0] != 0.5 or plan.step < 2 * noise:
        raise ValueError("the step is no power of two, or smaller than twice the noise")


PUBLIC = DiagonalKind()
SERVER = DiagonalServer()
