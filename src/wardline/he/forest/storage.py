"""Forests outside of the memory: a plan as JSON values, and the server's half as bytes."""

from __future__ import annotations

import struct
from typing import Any, get_args

import numpy as np

from wardline.crypto.strict import exact_object
from wardline.he.forest.integers import IntegerTree, Thresholds, canonical, reach
from wardline.he.forest.noise import least_flood_bits, output_deviation
from wardline.he.forest.plan import ForestPlan, ForestWeights
from wardline.he.forest.trees import LEAF, MOST_DEPTH, Number, Tree
from wardline.he.json_numbers import number, numbers, whole
from wardline.he.kernels.sampling import MOST_FLOODING_BITS
from wardline.he.kernels.slots import has_slots
from wardline.he.parameters import Parameters
from wardline.he.ranges import coarse

MOST_INPUTS = 16384
MOST_OUTPUTS = 1024
MOST_BITS = 4096
MOST_NODES = 1 << 24

_COUNT = struct.Struct("<I")
_COUNTS = {"depth": 32, "products": MOST_NODES, "last": MOST_NODES, "held": MOST_NODES}
_SETTINGS = ("step", "noise_bits", "left_bits")
_TOLD = ("seconds", "error", "worst")
_REALS = (*_SETTINGS, *_TOLD)
_NAMES = frozenset(
    {
        "parameters",
        "features",
        "thresholds",
        "number",
        "inputs",
        "centre",
        "trees",
        "nodes",
        "flood_limbs",
        "flood_bits",
        "reply_limbs",
        *_COUNTS,
        *_REALS,
    }
)


def plan_to_json(plan: ForestPlan) -> dict[str, Any]:
    """A plan as JSON values."""
    return {
        "parameters": plan.parameters.to_json(),
        "features": plan.thresholds.feature.tolist(),
        "thresholds": plan.thresholds.threshold.tolist(),
        "number": plan.thresholds.number,
        "inputs": plan.inputs,
        "centre": plan.centre.tolist(),
        "trees": plan.trees,
        "nodes": plan.nodes,
        "flood_limbs": plan.flood_limbs,
        "flood_bits": plan.flood_bits,
        "reply_limbs": plan.reply_limbs,
        **{name: getattr(plan, name) for name in (*_COUNTS, *_SETTINGS)},
        **{name: coarse(getattr(plan, name)) for name in _TOLD},
    }


def plan_from_json(value: object) -> ForestPlan:
    """Read `plan_to_json` back, from whomever it comes.

    Raises:
        IntegrityError, ValueError, TypeError: for what it would not have written.
    """
    found = exact_object(value, _NAMES, what="the plan")
    parameters = Parameters.from_json(found["parameters"])
    plain = parameters.plain_modulus
    if parameters.scheme != "bfv" or plain is None or not has_slots(plain, parameters.degree):
        raise ValueError("a forest is computed with bfv in slots")
    limbs, compared = len(parameters.moduli), found["number"]
    if compared not in get_args(Number):
        raise ValueError("features are compared as float32 or float64")
    inputs = whole(found["inputs"], 1, MOST_INPUTS)
    listed = found["features"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_BITS:
        raise ValueError(f"a forest compares with 1 to {MOST_BITS} thresholds")
    values = numbers(found["thresholds"], most=MOST_BITS)
    if not np.array_equal(canonical(values, compared), values):
        raise ValueError(f"a threshold is no number of the type {compared}")
    depth = whole(found["depth"], 0, _COUNTS["depth"])
    if (depth > 0) is not (parameters.special is not None):
        raise ValueError("a forest with products, and no other, needs a special prime")
    flood_limbs = whole(found["flood_limbs"], 1, limbs)
    return ForestPlan(
        parameters=parameters,
        thresholds=Thresholds(
            feature=np.array([whole(one, 0, inputs - 1) for one in listed], dtype=np.int64),
            threshold=values,
            number=compared,
        ),
        inputs=inputs,
        centre=numbers(found["centre"], most=MOST_OUTPUTS),
        trees=whole(found["trees"], 1, MOST_NODES),
        nodes=whole(found["nodes"], 1, MOST_NODES),
        depth=depth,
        products=whole(found["products"], 0, _COUNTS["products"]),
        last=whole(found["last"], 0, _COUNTS["last"]),
        held=whole(found["held"], 0, _COUNTS["held"]),
        flood_limbs=flood_limbs,
        flood_bits=whole(found["flood_bits"], 1, MOST_FLOODING_BITS),
        reply_limbs=whole(found["reply_limbs"], 1, flood_limbs),
        step=number(found["step"], above_zero=True),
        seconds=number(found["seconds"], least=0.0),
        noise_bits=number(found["noise_bits"], least=0.0),
        left_bits=number(found["left_bits"], least=0.0),
        error=number(found["error"], least=0.0),
        worst=number(found["worst"], least=0.0),
    )


def pack_forest(secret: ForestWeights) -> bytes:
    """The server's half: base as i64 [outputs], then of each tree its number of nodes, bits, children and values."""
    parts = [secret.base.astype("<i8").tobytes()]
    for tree in secret.trees:
        parts.append(_COUNT.pack(len(tree.bit)))
        parts += [one.astype("<i4").tobytes() for one in (tree.bit, tree.left, tree.right)]
        parts.append(tree.value.astype("<i8").tobytes())
    return b"".join(parts)


def packed_bytes(plan: ForestPlan) -> int:
    """The length of `pack_forest`."""
    return 8 * plan.outputs + _COUNT.size * plan.trees + plan.nodes * (12 + 8 * plan.outputs)


def unpack_forest(content: bytes, plan: ForestPlan) -> ForestWeights:
    """Read `pack_forest` back.

    Raises:
        ValueError: for what does not fit the plan: other numbers of nodes, what is no tree or too deep, bits that the
            plan lacks, sums that could wrap around the plain modulus, more products than the plan says, or noise that
            would not hide the forest.
    """
    if len(content) != packed_bytes(plan):
        raise ValueError("there are more or fewer nodes than the plan has")
    outputs, at = plan.outputs, 8 * plan.outputs
    base = np.frombuffer(content, dtype="<i8", count=outputs).astype(np.int64)
    trees, nodes = [], 0
    for _ in range(plan.trees):
        if at + _COUNT.size > len(content):
            raise ValueError("there are fewer trees than the plan has")
        (count,) = _COUNT.unpack_from(content, at)
        at += _COUNT.size
        nodes += count
        if nodes > plan.nodes or at + count * (12 + 8 * outputs) > len(content):
            raise ValueError("there are more nodes than the plan has")
        bit, left, right = (
            np.frombuffer(content, dtype="<i4", count=count, offset=at + 4 * count * part).astype(np.int64)
            for part in range(3)
        )
        at += 12 * count
        value = np.frombuffer(content, dtype="<i8", count=count * outputs, offset=at).astype(np.int64)
        at += 8 * count * outputs
        trees.append(_tree(bit, left, right, value.reshape(count, outputs), plan))
    secret = ForestWeights(trees=tuple(trees), base=base, bit_features=plan.thresholds.feature)
    _check(secret, plan)
    return secret


def _tree(bit: Any, left: Any, right: Any, value: Any, plan: ForestPlan) -> IntegerTree:
    # The plain tree's own checks: children, and values that are finite.
    plain = Tree(feature=bit, threshold=np.zeros(len(bit)), left=left, right=right, value=value.astype(np.float64))
    if plain.depth > MOST_DEPTH:
        raise ValueError(f"a tree has more than {MOST_DEPTH} splits one after the other")
    if bit.max() >= len(plan.thresholds) or bit.min() < LEAF:
        raise ValueError("a split needs a threshold that the plan lacks")
    return IntegerTree(bit=bit, left=left, right=right, value=value)


def _check(secret: ForestWeights, plan: ForestPlan) -> None:
    assert plan.parameters.plain_modulus is not None
    largest = int(sum((np.abs(tree.value).astype(object).max() for tree in secret.trees), start=0))
    if largest + int(np.abs(secret.base.astype(object)).max()) >= 1 << 62:
        raise ValueError("sums of the leaves could overflow")
    if 2 * int(reach(secret.trees, secret.base).max()) >= plan.parameters.plain_modulus:
        raise ValueError("sums of the leaves could wrap around the plain modulus")
    circuit = secret.circuit
    if (circuit.depth, circuit.products, circuit.last) != (plan.depth, plan.products, plan.last):
        raise ValueError("the forest takes other products than the plan says")
    if circuit.held != plan.held:
        raise ValueError("the forest holds other products than the plan says")
    deviation = output_deviation(circuit, degree=plan.parameters.degree, plain=plan.parameters.plain_modulus)
    if plan.flood_bits < least_flood_bits(plan.parameters, deviation, limbs=plan.flood_limbs):
        raise ValueError("the noise that the plan adds to replies would not hide the forest")
