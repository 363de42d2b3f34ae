"""Networks on batch columns: their plans as JSON, and what their ciphertexts are like."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from wardline.crypto.strict import exact_object
from wardline.he.compiled.kinds import Floats, Keys, Shape, range_lines
from wardline.he.json_numbers import number, numbers, whole
from wardline.he.network.noise import SLOT_TAIL, TAIL, in_slots
from wardline.he.network.plan import FLOOD_BITS, LayerPlan, NetworkPlan, SecondPlan
from wardline.he.network.tiling import charged
from wardline.he.parameters import Parameters
from wardline.he.ranges import coarse, outside

MOST_WIDTH = 16384
"""Numbers that a layer reads or gives, at most: so many ciphertexts are in work."""

MOST_LAYERS = 32

_LARGEST_SCALE = 2.0**400
_NAMES = frozenset(
    {
        "parameters",
        "centre",
        "half_width",
        "input_scale",
        "layers",
        "reply_limbs",
        "reply_scale",
        "flood_bits",
        "reach",
        "error",
        "worst",
        "step",
    }
)
_LAYER_NAMES = frozenset(
    {
        "name",
        "inputs",
        "outputs",
        "live",
        "limbs",
        "dropped",
        "weight_scale",
        "scale",
        "squared",
        "error",
        "bound",
        "second",
    }
)
_SECOND_NAMES = frozenset({"degree", "dropped", "scale", "error", "bound"})


class NetworkKind:
    """See `wardline.he.compiled.kinds.PublicKind`."""

    def to_json(self, plan: NetworkPlan) -> dict[str, Any]:
        """A plan as JSON values: of a protected network alone."""
        if plan.flood_bits is None:
            raise ValueError("the plan has no protection: its model must not be given away")
        return {
            "parameters": plan.parameters.to_json(),
            "centre": plan.centre.tolist(),
            "half_width": plan.half_width.tolist(),
            "input_scale": plan.input_scale,
            "layers": [_layer_json(layer) for layer in plan.layers],
            "reply_limbs": plan.reply_limbs,
            "reply_scale": plan.reply_scale,
            "flood_bits": plan.flood_bits,
            "reach": coarse(plan.reach),
            "error": coarse(plan.error),
            "worst": coarse(plan.worst),
            "step": plan.step,
        }

    def from_json(self, value: object) -> NetworkPlan:
        """Read `to_json` back.

        Scales must fit their moduli, and the step must be as wide as the server's noise needs: a step that is too
        small would show noise which depends on the key in what a client takes for rounded.
        """
        found = exact_object(value, _NAMES, what="the plan")
        parameters = Parameters.from_json(found["parameters"])
        listed = found["layers"]
        if parameters.scheme != "ckks" or not isinstance(listed, list) or not 1 <= len(listed) <= MOST_LAYERS:
            raise ValueError(f"a network is computed with ckks and has 1 to {MOST_LAYERS} layers")
        limbs = len(parameters.moduli)
        plan = NetworkPlan(
            parameters=parameters,
            centre=numbers(found["centre"], most=MOST_WIDTH),
            half_width=numbers(found["half_width"], most=MOST_WIDTH, above_zero=True),
            input_scale=number(found["input_scale"], above_zero=True, most=_LARGEST_SCALE),
            layers=tuple(_layer(one, limbs) for one in listed),
            reply_limbs=whole(found["reply_limbs"], 1, limbs),
            reply_scale=number(found["reply_scale"], above_zero=True, most=_LARGEST_SCALE),
            flood_bits=whole(found["flood_bits"], FLOOD_BITS, math.prod(parameters.moduli).bit_length() - 1),
            reach=number(found["reach"], above_zero=True),
            error=number(found["error"], above_zero=True),
            worst=number(found["worst"], above_zero=True),
            step=number(found["step"], above_zero=True),
        )
        _check(plan)
        return plan

    def columns(self, plan: NetworkPlan) -> Shape:
        """A ciphertext for each number of a row."""
        limbs = len(plan.parameters.moduli)
        return Shape(ciphertexts=plan.inputs, limbs=limbs, form="evaluations", scale=plan.input_scale)

    def replies(self, plan: NetworkPlan) -> Shape:
        """A ciphertext for each output."""
        return Shape(ciphertexts=plan.outputs, limbs=plan.reply_limbs, form="evaluations", scale=plan.reply_scale)

    def keys(self, plan: NetworkPlan) -> Keys:
        """One to relinearise, if anything is multiplied."""
        return Keys(relinearisation=plan.relinearises)

    def charged(self, plan: NetworkPlan, rows: int) -> int:
        """Full batches, and what is left rounded up to a power of two."""
        return charged(rows, slots=plan.rows)

    def outside(self, plan: NetworkPlan, rows: Floats) -> int:
        """How many rows have a number outside of its range."""
        return outside(plan, rows)

    def describe_inputs(self, plan: NetworkPlan, names: Sequence[str]) -> list[str]:
        """Ranges."""
        return range_lines(plan, names)

    def determined_by(self, plan: NetworkPlan) -> str:
        """As many outputs as there are weights, at the latest."""
        weights = sum(layer.outputs * (layer.inputs + 1) for layer in plan.layers)
        return (
            f"about {-(-weights // plan.outputs)} rows give as many numbers as the network has weights at most, and a "
            "copy that decides alike needs fewer: meter rows, which are charged by powers of two (complex numbers in a "
            "full batch tell twice as much)"
        )


def _layer_json(layer: LayerPlan) -> dict[str, Any]:
    second = layer.second
    return {
        "name": layer.name,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "live": layer.live,
        "limbs": layer.limbs,
        "dropped": layer.dropped,
        "weight_scale": layer.weight_scale,
        "scale": layer.scale,
        "squared": layer.squared,
        "error": coarse(layer.error),
        "bound": coarse(layer.bound),
        "second": None
        if second is None
        else {
            "degree": second.degree,
            "dropped": second.dropped,
            "scale": second.scale,
            "error": coarse(second.error),
            "bound": coarse(second.bound),
        },
    }


def _layer(value: object, most_limbs: int) -> LayerPlan:
    found = exact_object(value, _LAYER_NAMES, what="a layer")
    if not isinstance(found["name"], str) or len(found["name"]) > 512 or not isinstance(found["squared"], bool):
        raise ValueError("a layer has a name, and is squared or not")
    inputs = whole(found["inputs"], 1, MOST_WIDTH)
    return LayerPlan(
        name=found["name"],
        inputs=inputs,
        outputs=whole(found["outputs"], 1, MOST_WIDTH),
        live=whole(found["live"], 1, inputs),
        limbs=whole(found["limbs"], 1, most_limbs),
        dropped=whole(found["dropped"], 0, most_limbs - 1),
        weight_scale=number(found["weight_scale"], above_zero=True, most=_LARGEST_SCALE),
        scale=number(found["scale"], above_zero=True, most=_LARGEST_SCALE),
        squared=found["squared"],
        error=number(found["error"]),
        bound=number(found["bound"]),
        second=None if found["second"] is None else _second(found["second"], most_limbs),
    )


def _second(value: object, most_limbs: int) -> SecondPlan:
    found = exact_object(value, _SECOND_NAMES, what="a second product")
    return SecondPlan(
        degree=whole(found["degree"], 3, 4),
        dropped=whole(found["dropped"], 0, most_limbs - 1),
        scale=number(found["scale"], above_zero=True, most=_LARGEST_SCALE),
        error=number(found["error"]),
        bound=number(found["bound"]),
    )


def _check(plan: NetworkPlan) -> None:
    """What holds between the numbers of a plan that was chosen and not made up."""
    parameters, layers, last = plan.parameters, plan.layers, plan.layers[-1]
    bits = sum(map(math.log2, parameters.moduli))
    reply_bits = sum(map(math.log2, parameters.moduli[: plan.reply_limbs]))
    if len(plan.centre) != len(plan.half_width) or layers[0].inputs != plan.inputs:
        raise ValueError("the ranges are not those of the first layer")
    fitting = all(one.outputs == two.inputs and one.left == two.limbs for one, two in itertools.pairwise(layers))
    if not fitting or layers[0].limbs != len(parameters.moduli) or last.left < plan.reply_limbs:
        raise ValueError("the layers do not fit each other")
    if any(layer.squared is (layer is last) or (layer.second and not layer.squared) for layer in layers):
        raise ValueError("every layer but the last ends in a polynomial")
    if plan.relinearises and parameters.special is None:
        raise ValueError("products need a special prime")
    if math.log2(plan.input_scale) + 2 > bits or math.log2(plan.reply_scale) + 1 > reply_bits:
        raise ValueError("a scale does not fit its moduli")
    flooded = math.prod(parameters.moduli[plan.reply_limbs : last.left])
    if not math.isclose(plan.reply_scale * flooded, last.scale, rel_tol=1e-9):
        raise ValueError("the reply's scale is not that of the last layer")
    assert plan.flood_bits is not None
    noise = in_slots(2.0**plan.flood_bits / math.sqrt(3) / last.scale, parameters.degree)
    # By the plan's own words: how large the noise of its weights is, bounds say, which are an eighth too large at most.
    hidden = TAIL * last.bound * 8 / 9 / in_slots(SLOT_TAIL, parameters.degree) * last.scale
    if 2.0**plan.flood_bits < 2.0**FLOOD_BITS * hidden * (1 - 1e-9):
        raise ValueError("the noise that is added to replies would not hide the weights")
    if math.frexp(plan.step)[0] != 0.5 or plan.step < 2 * noise:
        raise ValueError("the step is no power of two, or smaller than twice the noise")


PUBLIC = NetworkKind()
