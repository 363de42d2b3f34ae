"""The public part of a compiled model: what a client needs to encrypt rows for it and to read its answers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from wardline.core import UsageError, canonical_json
from wardline.core.errors import IntegrityError
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.compiler.program import Meaning
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.session import Limits
from wardline.he.linear.plan import LinearPlan
from wardline.he.parameters import Parameters
from wardline.he.ranges import OutOfRange

SCHEMA = "wardline compiled model/1"
MOST_PUBLIC_BYTES = 4 * 1024 * 1024
MOST_FEATURES = 4096
MOST_OUTPUTS = 1024

_KEYS = frozenset({"schema", "kind", "plan", "features", "meaning", "out_of_range", "weights_sha256"})
_PLAN_KEYS = frozenset({"parameters", "outputs", "weight_scale", "flood_bits", "bound", "error", "worst"})
_FEATURE_KEYS = frozenset({"name", "centre", "half_width"})
_MEANING_KEYS = frozenset({"gives", "classes", "threshold", "link"})
_DIGITS = frozenset("0123456789abcdef")
_FRAME_SLACK = 4096  # header, table, description and tag of a frame take a few hundred bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublicModel:
    """What anybody may know of a compiled linear model.

    Attributes:
        plan: parameters, ranges of the features, bits and predicted errors.
        features: a name for each column of a row, in order.
        meaning: what the outputs are.
        out_of_range: what a client does with a feature outside of its range.
        weights_sha256: of the server's file, 64 hexadecimal digits. That file holds 32 random bytes beside the weights,
            so that nobody can try weights against it.

    Raises:
        ValueError: for parts that do not fit together.

    Guarantee: no weight stands in it. `flood_bits`, `weight_scale`, `bound` and `worst` depend on the sizes of the
    weights, and tell their order of magnitude; ranges tell the extremes of the calibration sample, up to its margin.
    """

    plan: LinearPlan
    features: tuple[str, ...]
    meaning: Meaning
    out_of_range: OutOfRange
    weights_sha256: str

    def __post_init__(self) -> None:
        plan = self.plan
        if not 1 <= plan.features <= MOST_FEATURES or not 1 <= plan.outputs <= MOST_OUTPUTS:
            raise ValueError(f"a model has at most {MOST_FEATURES} features and {MOST_OUTPUTS} outputs")
        if len(self.features) != plan.features or len(set(self.features)) != plan.features or "" in self.features:
            raise ValueError("each feature needs a name of its own")
        wanted = {"logits": len(self.meaning.classes), "decision": 1}.get(self.meaning.gives, plan.outputs)
        if wanted != plan.outputs:
            raise ValueError(f"the meaning needs {wanted} outputs, and the plan has {plan.outputs}")
        if self.out_of_range not in get_args(OutOfRange):
            raise ValueError("out_of_range is clip or refuse")
        if len(self.weights_sha256) != 64 or set(self.weights_sha256) - _DIGITS:
            raise ValueError("weights_sha256 must be 64 hexadecimal digits")

    @property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes`, 32 bytes: what sessions, requests and budgets are bound to."""
        return hashlib.sha256(self.to_bytes()).digest()

    @property
    def limits(self) -> Limits:
        """What a reader of this model's frames has to take at most, and no more."""
        parameters = self.plan.parameters
        bits = sum(prime.bit_length() for prime in parameters.moduli)
        per_polynomial = bits * parameters.degree // 8 + 64 + len(parameters.moduli)
        most = max(self.plan.features, 2 * self.plan.outputs, 2)
        return Limits(
            frame_bytes=HEADER_BYTES + most * per_polynomial + _FRAME_SLACK,
            ciphertexts=max(self.plan.features, self.plan.outputs),
            galois_keys=1,
        )

    def to_json(self) -> dict[str, Any]:
        """The model as JSON values."""
        plan, meaning = self.plan, self.meaning
        return {
            "schema": SCHEMA,
            "kind": "linear",
            "plan": {
                "parameters": plan.parameters.to_json(),
                "outputs": plan.outputs,
                "weight_scale": plan.weight_scale,
                "flood_bits": plan.flood_bits,
                "bound": plan.bound,
                "error": plan.error,
                "worst": plan.worst,
            },
            "features": [
                {"name": name, "centre": float(centre), "half_width": float(half)}
                for name, centre, half in zip(self.features, plan.centre, plan.half_width, strict=True)
            ],
            "meaning": {
                "gives": meaning.gives,
                "classes": list(meaning.classes),
                "threshold": meaning.threshold,
                "link": meaning.link,
            },
            "out_of_range": self.out_of_range,
            "weights_sha256": self.weights_sha256,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same model has one spelling."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "") -> PublicModel:
        """Read what `to_bytes` wrote, or what a stranger sent.

        Args:
            data: all of the bytes.
            where: a file, for error messages.

        Raises:
            UsageError: for a compiled model of a kind that this version does not compute.
            IntegrityError: for anything else that `to_bytes` would not have written.
        """
        value = parse_canonical(data, what="the compiled model", max_bytes=MOST_PUBLIC_BYTES, max_depth=8)
        value = exact_object(value, _KEYS, what="the compiled model")
        if value["schema"] != SCHEMA:
            raise IntegrityError(f"the compiled model's schema is not {SCHEMA}", where=where)
        if value["kind"] != "linear":
            raise UsageError(
                "the compiled model is not linear, and this version computes no others",
                where=where,
                hint="use the version of wardline that compiled it",
            )
        try:
            read = cls._of(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise IntegrityError(f"the compiled model is refused: {error}", where=where) from error
        if read.to_bytes() != data:
            raise IntegrityError("the compiled model has another spelling than it would be written with", where=where)
        return read

    @classmethod
    def _of(cls, value: dict[str, Any]) -> PublicModel:
        features = value["features"]
        if not isinstance(features, list) or not 1 <= len(features) <= MOST_FEATURES:
            raise ValueError("features must be a list")
        features = [exact_object(one, _FEATURE_KEYS, what="a feature") for one in features]
        meaning = exact_object(value["meaning"], _MEANING_KEYS, what="the meaning")
        plan = exact_object(value["plan"], _PLAN_KEYS, what="the plan")
        parameters = Parameters.from_json(plan["parameters"])
        if parameters.scheme != "bfv" or parameters.special is not None:
            raise ValueError("a linear model is computed with bfv and no special prime")
        read = LinearPlan(
            parameters=parameters,
            centre=np.array([_number(one["centre"]) for one in features]),
            half_width=np.array([_number(one["half_width"], above_zero=True) for one in features]),
            outputs=_whole(plan["outputs"], 1, MOST_OUTPUTS),
            weight_scale=_number(plan["weight_scale"], above_zero=True),
            flood_bits=_whole(plan["flood_bits"], 40, math.prod(parameters.moduli).bit_length() - 1),
            bound=_number(plan["bound"]),
            error=_number(plan["error"], above_zero=True),
            worst=_number(plan["worst"], above_zero=True),
        )
        classes = meaning["classes"]
        return cls(
            plan=read,
            features=tuple(_text(one["name"]) for one in features),
            meaning=Meaning(
                gives=meaning["gives"],
                classes=tuple(_text(one) for one in classes) if isinstance(classes, list) else _no_list(),
                threshold=_number(meaning["threshold"]),
                link=meaning["link"],
            ),
            out_of_range=value["out_of_range"],
            weights_sha256=_text(value["weights_sha256"]),
        )


def _number(value: object, *, above_zero: bool = False) -> float:
    if type(value) not in (int, float):
        raise ValueError("a number is missing")
    number = float(value)  # type: ignore[arg-type]  # one of the two, as was just seen
    if not math.isfinite(number) or (above_zero and number <= 0):
        raise ValueError("a number is out of range")
    return number


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"a whole number is not from {least} to {most}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 512:
        raise ValueError("a name is missing or too long")
    return value


def _no_list() -> tuple[str, ...]:
    raise ValueError("classes must be a list")
