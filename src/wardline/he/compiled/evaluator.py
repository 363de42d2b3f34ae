"""What a server asks of a model that it computes on ciphertexts, and the one for linear models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import SEED_BYTES, Ciphertext, EvaluationKeys, SeededColumns, SeededKey, SeededKeys
from wardline.he.compiled.public_model import PublicModel
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.linear.evaluation import scores
from wardline.he.linear.plan import LinearPlan, LinearWeights, least_flood_bits

_OTHER_KEYS = "the keys are of other parameters than the model's"


class Evaluator(Protocol):
    """A model that scores encrypted rows, of whichever kind."""

    @property
    def public(self) -> PublicModel:
        """What clients may know."""
        ...

    @property
    def digest(self) -> bytes:
        """SHA-256 of the public part, 32 bytes."""
        ...

    @property
    def secret(self) -> Any:
        """The model itself, as its kind keeps it: it never leaves the server."""
        ...

    @property
    def spreads(self) -> bool:
        """Whether a batch is work enough for all threads of a service, or one of them is to take it."""
        ...

    def charged(self, rows: int) -> int:
        """How many rows an answer to so many tells of: what a client has to be charged."""
        ...

    def check_keys(self, keys: SeededKeys) -> None:
        """Refuse keys that this model cannot compute with, or has no use for, with an `IntegrityError`."""
        ...

    def ready(self, keys: SeededKeys) -> Any:
        """Keys as `evaluate` takes them, made once for a client."""
        ...

    def check_columns(self, columns: SeededColumns) -> None:
        """Refuse columns that are none of this model, with an `IntegrityError`."""
        ...

    def evaluate(self, columns: SeededColumns, keys: Any, *, rows: int, threads: int = 1) -> tuple[Ciphertext, ...]:
        """Encrypted scores of `rows` rows and of nothing else, fit to leave the server; checks both as above."""
        ...

    def blank(self) -> tuple[SeededColumns, SeededKeys]:
        """Columns and keys that encrypt nothing."""
        ...

    def narrow(self) -> Evaluator:
        """A model of the same parameters as small as may be, to compute on once before anybody waits."""
        ...


def check_keys(public: PublicModel, keys: SeededKeys) -> None:
    """Refuse keys that are not exactly those that a model's kind needs.

    Raises:
        IntegrityError: for keys of other parameters, or more or fewer of them.
    """
    if keys.parameters != public.plan.parameters:
        raise IntegrityError(_OTHER_KEYS)
    _check_needed(public, relinearisation=keys.relinearisation is not None, elements=sorted(keys.galois))


def check_expanded(public: PublicModel, keys: EvaluationKeys) -> None:
    """The same for keys that were drawn out."""
    if keys.parameters != public.plan.parameters:
        raise IntegrityError(_OTHER_KEYS)
    _check_needed(public, relinearisation=keys.relinearisation is not None, elements=sorted(keys.galois))


def _check_needed(public: PublicModel, *, relinearisation: bool, elements: list[int]) -> None:
    needed = public.keys
    if relinearisation is not needed.relinearisation:
        told = "takes a key to relinearise products" if needed.relinearisation else "multiplies no ciphertexts"
        raise IntegrityError(f"the model {told}, and the keys are others")
    if elements != [*needed.elements(public.plan.parameters.degree)]:
        raise IntegrityError(f"the model takes {len(needed.steps)} galois keys, and the keys are others")


def blank(public: PublicModel) -> tuple[SeededColumns, SeededKeys]:
    """Columns and keys that encrypt nothing."""
    parameters, wanted, needed = public.plan.parameters, public.columns, public.keys
    columns = SeededColumns(
        parameters=parameters,
        seeds=np.zeros((wanted.ciphertexts, SEED_BYTES), dtype=np.uint8),
        c0=np.zeros((wanted.ciphertexts, wanted.limbs, parameters.degree), dtype=np.uint32),
        form=wanted.form,
        scale=wanted.scale,
    )
    limbs = len(parameters.moduli)

    def nothing() -> SeededKey:
        return SeededKey(
            seeds=np.zeros((limbs, SEED_BYTES), dtype=np.uint8),
            c0=np.zeros((limbs, limbs + 1, parameters.degree), dtype=np.uint32),
        )

    keys = SeededKeys(
        parameters=parameters,
        public=np.zeros((2, limbs, parameters.degree), dtype=np.uint32),
        relinearisation=nothing() if needed.relinearisation else None,
        galois={element: nothing() for element in needed.elements(parameters.degree)},
    )
    return columns, keys


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KindEvaluator(ABC):
    """What the evaluators of all kinds have in common.

    Attributes:
        public: what clients know.
        secret: the model itself, which never leaves.
        digest: of the public part.

    Raises:
        ValueError: for weights that do not fit the plan.
        TypeError: for a plan of another kind.
    """

    public: PublicModel
    secret: Any = field(repr=False)
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.public.digest)
        self._check_secret()

    @property
    def spreads(self) -> bool:
        """Whether a batch is work enough for all threads."""
        return False

    def charged(self, rows: int) -> int:
        """How many rows a request of so many is charged."""
        return self.public.charged(rows)

    def check_keys(self, keys: SeededKeys) -> None:
        """Take the keys that the plan needs, and no others.

        Raises:
            IntegrityError: for keys of other parameters, too few, or with switching keys that it has no use for.
        """
        check_keys(self.public, keys)

    def ready(self, keys: SeededKeys) -> Any:
        """Keys with their seeds drawn out."""
        return expand_keys(keys)

    def check_columns(self, columns: SeededColumns) -> None:
        """Take fresh ciphertexts as the plan has them.

        Raises:
            IntegrityError: for columns of other parameters, form, scale or number, or with more bits left out.
        """
        self.public.check_columns(columns)

    def evaluate(self, columns: SeededColumns, keys: Any, *, rows: int, threads: int = 1) -> tuple[Ciphertext, ...]:
        """Encrypted outputs of the first `rows` rows of these columns, fit to leave the server.

        Args:
            columns: a batch, from the client.
            keys: the client's, as `ready` gives them.
            rows: how many, from 1 to those of a full batch.
            threads: among which the work is shared out.

        Raises:
            IntegrityError: for columns or keys that are none of this model.
            ValueError: for rows out of range.

        Guarantee: as of the `replies` of the kind's evaluation; and the answer tells of `charged(rows)` rows and no
        others: as many numbers an output, or two for each row of a network's full batch where a dishonest client put
        complex numbers into slots (see `wardline.he.network.tiling.withheld`).
        """
        if not 1 <= rows <= self.public.plan.rows:
            raise ValueError(f"rows must be from 1 to {self.public.plan.rows}")
        self.check_columns(columns)
        if keys.parameters != self.public.plan.parameters:
            raise IntegrityError(_OTHER_KEYS)
        return self._answers(columns, keys, rows=rows, threads=threads)

    def blank(self) -> tuple[SeededColumns, SeededKeys]:
        """Columns and keys of nothing."""
        return blank(self.public)

    def narrow(self) -> Evaluator:
        """The model itself: it takes little time."""
        return self

    @abstractmethod
    def _check_secret(self) -> None:
        """Refuse weights that do not fit the plan."""

    @abstractmethod
    def _answers(self, columns: SeededColumns, keys: Any, *, rows: int, threads: int) -> tuple[Ciphertext, ...]:
        """The answer to columns and keys that were looked at."""


class LinearEvaluator(KindEvaluator):
    """A linear model on columns of coefficients.

    Of rows beyond those that are asked for the answer says nothing at all: their coefficients of the first polynomial
    are set to 0, and the second is a fresh one.
    """

    __slots__ = ()

    def _check_secret(self) -> None:
        shape = (self.public.plan.outputs, self.public.plan.inputs)
        if self.secret.weights.shape != shape or self.secret.bias.shape != shape[:1]:
            raise ValueError("the weights do not fit the plan")

    def _answers(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int
    ) -> tuple[Ciphertext, ...]:
        plan = self.public.plan
        assert isinstance(plan, LinearPlan)
        check_expanded(self.public, keys)
        found = scores(columns, keys.public, plan=plan, secret=self.secret, threads=threads)
        return tuple(_cut(one, rows) for one in found)


def _cut(one: Ciphertext, rows: int) -> Ciphertext:
    parts = one.parts.copy()
    parts[0, :, rows:] = 0
    return replace(one, parts=parts)


class LinearServer:
    """See `wardline.he.compiled.kinds.ServerKind`."""

    def evaluator(self, public: PublicModel, secret: LinearWeights) -> LinearEvaluator:
        """Computes on ciphertexts."""
        return LinearEvaluator(public=public, secret=secret)

    def pack(self, secret: LinearWeights) -> bytes:
        """Weights [outputs, features] and bias [outputs] as little-endian 64-bit numbers."""
        return secret.weights.astype("<i8").tobytes() + secret.bias.astype("<i8").tobytes()

    def packed_bytes(self, plan: LinearPlan) -> int:
        """The length of `pack`."""
        return 8 * plan.outputs * (plan.features + 1)

    def unpack(self, content: bytes, plan: LinearPlan) -> LinearWeights:
        """Read `pack` back; raises `ValueError` for what does not fit the plan."""
        if len(content) != self.packed_bytes(plan):
            raise ValueError("there are more or fewer weights than the plan has")
        numbers = np.frombuffer(content, dtype="<i8").astype(np.int64)
        count = plan.outputs * plan.features
        weights, bias = numbers[:count].reshape(plan.outputs, plan.features), numbers[count:]
        # What the plan says must hold of them: sums of integers within its bound never leave the plain modulus.
        most = plan.bound * plan.scale * (1 + 1e-9) + plan.features * 2.0**24
        sizes = 2.0**24 * np.abs(weights.astype(np.float64)).sum(axis=1) + np.abs(bias.astype(np.float64))
        if float(sizes.max()) > 2 * most:
            raise ValueError("the weights are larger than their plan says")
        if plan.flood_bits < least_flood_bits(weights):
            raise ValueError("the noise that the plan adds to replies would not hide the weights")
        return LinearWeights(weights=np.ascontiguousarray(weights), bias=np.ascontiguousarray(bias))


SERVER = LinearServer()
