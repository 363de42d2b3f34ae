"""Networks at the server: the evaluator, and their weights as bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np

from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns
from wardline.he.compiled.evaluator import KindEvaluator, check_expanded
from wardline.he.compiled.kinds import Floats
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiler.program import Meaning
from wardline.he.network.evaluation import replies
from wardline.he.network.plan import LayerPlan, NetworkPlan, NetworkWeights, SecretLayer
from wardline.he.network.stages import SecondBend, blocks_of, groups_of, most_live
from wardline.he.network.tiling import withheld

_BENDS = struct.Struct("<ddd")  # slope of the first product, factor and slope of the second
_LARGEST_WEIGHT = 1 << 30
_FEW = 36  # numbers of a layer that take every path which more of them take


class NetworkEvaluator(KindEvaluator):
    """A network on batch columns, whose rows repeat in the slots.

    The answer tells of `charged(rows)` rows at most, as said at `wardline.he.network.tiling.withheld`.
    """

    __slots__ = ()

    @property
    def spreads(self) -> bool:
        """One batch is enough work for all threads."""
        return True

    @property
    def _plan(self) -> NetworkPlan:
        plan = self.public.plan
        if not isinstance(plan, NetworkPlan):
            raise TypeError("the plan is that of another kind of model")
        return plan

    def _check_secret(self) -> None:
        _check_weights(self.secret, self._plan)

    def _answers(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int
    ) -> tuple[Ciphertext, ...]:
        check_expanded(self.public, keys)
        found = replies(columns, keys, plan=self._plan, secret=self.secret, threads=threads)
        return tuple(withheld(one, rows) for one in found)

    def narrow(self) -> NetworkEvaluator:
        """A network of as many layers, each of a few numbers: it takes the same steps in a fraction of a second."""
        inputs = min(self._plan.inputs, _FEW)
        layers: list[LayerPlan] = []
        hidden: list[SecretLayer] = []
        for index, layer in enumerate(self._plan.layers):
            outputs = min(layer.outputs, _FEW)
            width = inputs if index == 0 else layers[-1].outputs
            layers.append(replace(layer, inputs=width, outputs=outputs, live=width))
            bends = (0.5 if layer.squared else 0.0, 0.5 if layer.second and layer.second.degree == 4 else 0.0, 0.0)
            ones = np.ones((outputs, width), dtype=np.int64)
            hidden.append(_secret_layer(layers[-1], ones, np.zeros(outputs), bends, index == 0))
        plan = replace(self._plan, centre=np.zeros(inputs), half_width=np.ones(inputs), layers=tuple(layers))
        public = replace(
            self.public,
            plan=plan,
            features=tuple(f"feature {index}" for index in range(inputs)),
            meaning=Meaning(gives="values"),
        )
        return NetworkEvaluator(public=public, secret=NetworkWeights(layers=tuple(hidden)))


class NetworkServer:
    """See `wardline.he.compiled.kinds.ServerKind`."""

    def evaluator(self, public: PublicModel, secret: NetworkWeights) -> NetworkEvaluator:
        """Computes on ciphertexts."""
        return NetworkEvaluator(public=public, secret=secret)

    def pack(self, secret: NetworkWeights) -> bytes:
        """For each layer its bends, weights [outputs, inputs] as 32-bit integers, and offsets [outputs] as f64."""
        parts = []
        for layer in secret.layers:
            second = layer.second or _NO_SECOND
            parts += [
                _BENDS.pack(layer.slope or 0.0, second.factor, second.slope),
                layer.weights.astype("<i4").tobytes(),
                layer.offset.astype("<f8").tobytes(),
            ]
        return b"".join(parts)

    def packed_bytes(self, plan: NetworkPlan) -> int:
        """The length of `pack`."""
        return sum(_BENDS.size + one.outputs * (4 * one.inputs + 8) for one in plan.layers)

    def unpack(self, content: bytes, plan: NetworkPlan) -> NetworkWeights:
        """Read `pack` back; raises `ValueError` for what does not fit the plan."""
        if len(content) != self.packed_bytes(plan):
            raise ValueError("there are more or fewer weights than the plan has")
        layers, at = [], 0
        for index, layer in enumerate(plan.layers):
            bends = _BENDS.unpack_from(content, at)
            at += _BENDS.size
            count = layer.outputs * layer.inputs
            weights = np.frombuffer(content, dtype="<i4", count=count, offset=at).astype(np.int64)
            at += 4 * count
            offset = np.frombuffer(content, dtype="<f8", count=layer.outputs, offset=at).astype(np.float64)
            at += 8 * layer.outputs
            layers.append(_secret_layer(layer, weights.reshape(layer.outputs, layer.inputs), offset, bends, index == 0))
        return NetworkWeights(layers=tuple(layers))


_NO_SECOND = SecondBend(degree=4)


def _secret_layer(layer: LayerPlan, weights: Any, offset: Floats, bends: tuple[float, ...], first: bool) -> SecretLayer:
    slope, factor, other = bends
    if not all(map(math.isfinite, bends)) or not np.isfinite(offset).all():
        raise ValueError("a number of the weights is not finite")
    if (not layer.squared and slope) or (layer.second is None and (factor or other)):
        raise ValueError("the weights have polynomials where the plan has none")
    second = None if layer.second is None else SecondBend(degree=layer.second.degree, factor=factor, slope=other)
    return SecretLayer(
        weights=weights,
        weight_scale=layer.weight_scale,
        offset=offset,
        slope=slope if layer.squared else None,
        blocks=blocks_of(groups_of(weights)) if first else (),
        second=second,
    )


def _check_weights(secret: NetworkWeights, plan: NetworkPlan) -> None:
    """Shapes, and what the plan's room in the moduli rests on, as far as it can be told from both."""
    if len(secret.layers) != len(plan.layers):
        raise ValueError("the weights do not fit the plan")
    for layer, hidden in zip(plan.layers, secret.layers, strict=True):
        if hidden.weights.shape != (layer.outputs, layer.inputs) or hidden.offset.shape != (layer.outputs,):
            raise ValueError("the weights do not fit the plan")
        if hidden.weight_scale != layer.weight_scale or (hidden.slope is None) is layer.squared:
            raise ValueError("the weights do not fit the plan")
        if (hidden.second and hidden.second.degree) != (layer.second and layer.second.degree):
            raise ValueError("the weights do not fit the plan")
        if int(np.abs(hidden.weights).max()) >= _LARGEST_WEIGHT:
            raise ValueError("a weight is larger than any that is computed with")
    if most_live(secret.layers[0].blocks) > plan.layers[0].live:
        raise ValueError("the first layer reads more at once than the plan says")


SERVER = NetworkServer()
