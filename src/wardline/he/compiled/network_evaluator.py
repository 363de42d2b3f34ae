"""Networks at the server: the evaluator, and their weights as bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns, SeededKeys
from wardline.he.compiled.evaluator import blank, check_columns, check_expanded, check_keys
from wardline.he.compiled.kinds import Floats
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiler.program import Meaning
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.network.evaluation import replies
from wardline.he.network.plan import LayerPlan, NetworkPlan, NetworkWeights, SecretLayer
from wardline.he.network.stages import SecondBend, blocks_of, groups_of, most_live
from wardline.he.network.tiling import withheld

_BENDS = struct.Struct("<ddd")  # slope of the first product, factor and slope of the second
_LARGEST_WEIGHT = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkEvaluator:
    """A network on batch columns.

    Attributes:
        public: what clients know.
        secret: the integers that never leave.
        digest: of the public part.
    """

    public: PublicModel
    secret: NetworkWeights = field(repr=False)
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.public.digest)
        _check_weights(self.secret, self._plan)

    @property
    def _plan(self) -> NetworkPlan:
        plan = self.public.plan
        if not isinstance(plan, NetworkPlan):
            raise TypeError("the plan is that of another kind of model")
        return plan

    @property
    def spreads(self) -> bool:
        """One batch is enough work for all threads."""
        return True

    def charged(self, rows: int) -> int:
        """Full batches, and what is left rounded up to a power of two."""
        return self.public.charged(rows)

    def check_keys(self, keys: SeededKeys) -> None:
        """Take a public key, and a relinearisation key exactly where there are products.

        Raises:
            IntegrityError: for other keys.
        """
        check_keys(self.public, keys)

    def ready(self, keys: SeededKeys) -> EvaluationKeys:
        """Keys with their seeds drawn out."""
        return expand_keys(keys)

    def check_columns(self, columns: SeededColumns) -> None:
        """Take one fresh ciphertext for each number of a row.

        Raises:
            IntegrityError: for columns of other parameters, scale or number.
        """
        check_columns(self.public, columns)

    def evaluate(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int = 1
    ) -> tuple[Ciphertext, ...]:
        """Encrypted outputs of the rows in these columns, which repeat with the period of `rows`.

        Args:
            columns: input j of all rows in ciphertext j.
            keys: the client's.
            rows: how many, from 1 to half the ring's degree.
            threads: among which the work is shared out.

        Raises:
            IntegrityError: for columns or keys that are none of this model.
            ValueError: for rows out of range.

        Guarantee: as of `wardline.he.network.evaluation.replies`, and the answer tells of `charged(rows)` rows at most
        (see `wardline.he.network.tiling.withheld`).
        """
        plan = self._plan
        if not 1 <= rows <= plan.rows:
            raise ValueError(f"rows must be from 1 to {plan.rows}")
        self.check_columns(columns)
        check_expanded(self.public, keys)
        found = replies(columns, keys, plan=plan, secret=self.secret, threads=threads)
        return tuple(withheld(one, rows) for one in found)

    def blank(self) -> tuple[SeededColumns, SeededKeys]:
        """Columns and keys of nothing."""
        return blank(self.public)

    def narrow(self) -> NetworkEvaluator:
        """A network of as many layers, each of one number: it takes the same steps in a fraction of a second."""
        plan = replace(
            self._plan,
            centre=np.zeros(1),
            half_width=np.ones(1),
            layers=tuple(replace(layer, inputs=1, outputs=1, live=1) for layer in self._plan.layers),
        )
        one = np.ones((1, 1), dtype=np.int64)
        layers = tuple(
            _secret_layer(layer, one, np.zeros(1), (0.0, 0.0, 0.0), index == 0)
            for index, layer in enumerate(plan.layers)
        )
        public = replace(self.public, plan=plan, features=("number",), meaning=Meaning(gives="values"))
        return NetworkEvaluator(public=public, secret=NetworkWeights(layers=layers))


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
