"""The public part of a compiled model: what a client needs to encrypt rows for it and to read its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from wardline.core import UsageError, canonical_json
from wardline.core.errors import IntegrityError
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.compiled.kinds import (
    KINDS,
    Floats,
    Keys,
    Kind,
    Plan,
    Shape,
    keys_bytes,
    kind_named,
    kind_of,
    limits_of,
)
from wardline.he.compiler.program import Meaning
from wardline.he.frames.session import Limits
from wardline.he.json_numbers import number
from wardline.he.ranges import OutOfRange

SCHEMA = "wardline compiled model/2"
MOST_PUBLIC_BYTES = 4 * 1024 * 1024
MOST_FEATURES = 16384
MOST_OUTPUTS = 1024
MOST_FRAME_BYTES = 1 << 30
"""Of a batch, its answer or keys, for any model: what a client or server may have to take for a frame."""

_KEYS = frozenset({"schema", "kind", "plan", "features", "meaning", "out_of_range", "weights_sha256"})
_MEANING_KEYS = frozenset({"gives", "classes", "threshold", "link"})
_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublicModel:
    """What anybody may know of a compiled model, of whichever kind (see `wardline.he.compiled.kinds`).

    Attributes:
        plan: parameters, ranges of the features, bits and predicted errors.
        features: a name for each column of a row, in order.
        meaning: what the outputs are.
        out_of_range: what a client does with a feature outside of its range.
        weights_sha256: of the server's file, 64 hexadecimal digits. That file holds 32 random bytes beside the weights,
            so that nobody can try weights against it.

    Raises:
        ValueError: for parts that do not fit together.

    Guarantee: no weight stands in it. Scales, bits of noise and predicted errors depend on the sizes of the weights,
    and tell their order of magnitude: they are powers of two, or rounded up by up to an eighth (`ranges.coarse`). A
    network's shape is told; ranges tell the extremes of the calibration sample, up to its margin.
    """

    plan: Plan
    features: tuple[str, ...]
    meaning: Meaning
    out_of_range: OutOfRange
    weights_sha256: str

    def __post_init__(self) -> None:
        plan = self.plan
        if not 1 <= plan.inputs <= MOST_FEATURES or not 1 <= plan.outputs <= MOST_OUTPUTS:
            raise ValueError(f"a model has at most {MOST_FEATURES} features and {MOST_OUTPUTS} outputs")
        if self.limits.frame_bytes > MOST_FRAME_BYTES:
            raise ValueError(f"a batch, its answer or the keys take more than {MOST_FRAME_BYTES} bytes")
        if len(self.features) != plan.inputs or len(set(self.features)) != plan.inputs or "" in self.features:
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
    def kind(self) -> Kind:
        """Of the model."""
        return kind_of(self.plan)

    @property
    def limits(self) -> Limits:
        """What a reader of this model's frames has to take at most, and no more."""
        return limits_of(self.kind, self.plan)

    @property
    def columns(self) -> Shape:
        """What a batch that goes up is like."""
        return self.kind.public.columns(self.plan)

    @property
    def replies(self) -> Shape:
        """What the answer to a batch is like."""
        return self.kind.public.replies(self.plan)

    @property
    def keys(self) -> Keys:
        """What the server needs beside the public key."""
        return self.kind.public.keys(self.plan)

    @property
    def keys_bytes(self) -> int:
        """What a client's keys take in the server's memory."""
        return keys_bytes(self.kind, self.plan)

    def charged(self, rows: int) -> int:
        """How many rows a request of so many is charged."""
        return self.kind.public.charged(self.plan, rows)

    def batches(self, rows: int) -> int:
        """In how many batches so many rows travel."""
        return -(-rows // self.plan.rows)

    def outside(self, rows: Floats) -> int:
        """How many rows [rows, features] have a feature outside of the range that the model was compiled for."""
        return self.kind.public.outside(self.plan, rows)

    def check_columns(self, found: SeededColumns, *, where: str = "") -> None:
        """Refuse a batch that is not as the plan says.

        Raises:
            IntegrityError: for columns of other parameters, form, scale or number, or with more bits left out.
        """
        wanted = self.columns
        same = (found.limbs, found.form, found.scale) == (wanted.limbs, wanted.form, wanted.scale)
        if found.parameters != self.plan.parameters or not same or found.dropped_bits > wanted.dropped_bits:
            raise IntegrityError("the columns are not encrypted as the model's plan says", where=where)
        if len(found) != wanted.ciphertexts:
            raise IntegrityError(
                f"there are {len(found)} columns, and the model reads {wanted.ciphertexts}", where=where
            )

    def check_replies(self, found: Sequence[Ciphertext], *, where: str = "") -> None:
        """Refuse an answer that is not as the plan says.

        Raises:
            IntegrityError: for another number of ciphertexts, or others than fresh ones of the reply's level.
        """
        wanted = self.replies
        if len(found) != wanted.ciphertexts or any(
            (len(one.parts), one.limbs, one.form, one.scale) != (2, wanted.limbs, wanted.form, wanted.scale)
            for one in found
        ):
            raise IntegrityError("the answer has other ciphertexts than the model gives", where=where)

    def to_json(self) -> dict[str, Any]:
        """The model as JSON values."""
        meaning = self.meaning
        return {
            "schema": SCHEMA,
            "kind": self.kind.name,
            "plan": self.kind.public.to_json(self.plan),
            "features": list(self.features),
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
        kind = kind_named(value["kind"])
        if kind is None:
            raise UsageError(
                f"the compiled model is none of {', '.join(one.name for one in KINDS)}, and this version computes no "
                "others",
                where=where,
                hint="use the version of wardline that compiled it",
            )
        try:
            read = cls._of(value, kind)
        except (ValueError, TypeError, OverflowError) as error:
            raise IntegrityError(f"the compiled model is refused: {error}", where=where) from error
        if read.to_bytes() != data:
            raise IntegrityError("the compiled model has another spelling than it would be written with", where=where)
        return read

    @classmethod
    def _of(cls, value: dict[str, Any], kind: Kind) -> PublicModel:
        meaning = exact_object(value["meaning"], _MEANING_KEYS, what="the meaning")
        return cls(
            plan=kind.public.from_json(value["plan"]),
            features=_texts(value["features"], MOST_FEATURES),
            meaning=Meaning(
                gives=meaning["gives"],
                classes=_texts(meaning["classes"], MOST_OUTPUTS),
                threshold=number(meaning["threshold"]),
                link=meaning["link"],
            ),
            out_of_range=value["out_of_range"],
            weights_sha256=_text(value["weights_sha256"]),
        )


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 512:
        raise ValueError("a name is missing or too long")
    return value


def _texts(value: object, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"names must be a list of at most {most}")
    return tuple(_text(one) for one in value)
