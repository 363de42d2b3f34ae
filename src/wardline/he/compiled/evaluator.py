"""What a server asks of a model that it computes on ciphertexts, and the one for linear models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import SEED_BYTES, Ciphertext, EvaluationKeys, SeededColumns, SeededKeys
from wardline.he.compiled.public_model import PublicModel
from wardline.he.linear.evaluation import scores
from wardline.he.linear.plan import LEFT_OUT, LinearWeights

_OTHER_KEYS = "the keys are of other parameters than the model's"


class Evaluator(Protocol):
    """A model that scores encrypted rows. Networks will be another one."""

    @property
    def public(self) -> PublicModel:
        """What clients may know."""
        ...

    @property
    def digest(self) -> bytes:
        """SHA-256 of the public part, 32 bytes."""
        ...

    def check_keys(self, keys: SeededKeys) -> None:
        """Refuse keys that this model cannot compute with, with an `IntegrityError`."""
        ...

    def check_columns(self, columns: SeededColumns) -> None:
        """Refuse columns that are none of this model, with an `IntegrityError`."""
        ...

    def evaluate(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int = 1
    ) -> tuple[Ciphertext, ...]:
        """Encrypted scores of the first `rows` rows, fit to leave the server; checks both as above."""
        ...

    def blank(self) -> tuple[SeededColumns, SeededKeys]:
        """Columns and keys that encrypt nothing, to compute on once before anybody waits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearEvaluator:
    """A linear model on columns of coefficients.

    Attributes:
        public: what clients know.
        secret: the integers that never leave.
        digest: of the public part.
    """

    public: PublicModel
    secret: LinearWeights = field(repr=False)
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.public.digest)
        shape = (self.public.plan.outputs, self.public.plan.features)
        if self.secret.weights.shape != shape or self.secret.bias.shape != shape[:1]:
            raise ValueError("the weights do not fit the plan")

    def check_keys(self, keys: SeededKeys) -> None:
        """Take a public key alone.

        Raises:
            IntegrityError: for keys of other parameters, or with keys that a linear model has no use for.
        """
        if keys.parameters != self.public.plan.parameters:
            raise IntegrityError(_OTHER_KEYS)
        if keys.relinearisation is not None or keys.galois:
            raise IntegrityError("a linear model takes a public key, and no switching keys")

    def check_columns(self, columns: SeededColumns) -> None:
        """Take one fresh ciphertext for each feature.

        Raises:
            IntegrityError: for columns of other parameters, form or number, or with more bits left out than planned.
        """
        plan = self.public.plan
        whole = columns.limbs == len(plan.parameters.moduli) and columns.form == "coefficients"
        if columns.parameters != plan.parameters or not whole or columns.dropped_bits > LEFT_OUT:
            raise IntegrityError("the columns are not encrypted as the model's plan says")
        if len(columns) != plan.features:
            raise IntegrityError(f"there are {len(columns)} columns, and the model reads {plan.features}")

    def evaluate(
        self, columns: SeededColumns, keys: EvaluationKeys, *, rows: int, threads: int = 1
    ) -> tuple[Ciphertext, ...]:
        """Encrypted scores of the first `rows` rows of these columns.

        Args:
            columns: feature j of all rows in ciphertext j.
            keys: the client's.
            rows: how many, from 1 to the ring's degree.
            threads: among which the work is shared out.

        Raises:
            IntegrityError: for columns that are none of this model.
            ValueError: for rows out of range.

        Guarantee: as of `wardline.he.linear.evaluation.scores`; and of rows beyond `rows` the answer says nothing at
        all: their coefficients of the first polynomial are set to 0, and the second is a fresh one, so that more rows
        than were charged for cannot be read out of it.
        """
        plan = self.public.plan
        if not 1 <= rows <= plan.parameters.degree:
            raise ValueError(f"rows must be from 1 to {plan.parameters.degree}")
        self.check_columns(columns)
        if keys.parameters != plan.parameters:
            raise IntegrityError(_OTHER_KEYS)
        found = scores(columns, keys.public, plan=plan, secret=self.secret, threads=threads)
        return tuple(_cut(one, rows) for one in found)

    def blank(self) -> tuple[SeededColumns, SeededKeys]:
        """Columns and keys of nothing."""
        plan = self.public.plan
        shape = (plan.features, len(plan.parameters.moduli), plan.parameters.degree)
        columns = SeededColumns(
            parameters=plan.parameters,
            seeds=np.zeros((plan.features, SEED_BYTES), dtype=np.uint8),
            c0=np.zeros(shape, dtype=np.uint32),
            form="coefficients",
        )
        keys = SeededKeys(parameters=plan.parameters, public=np.zeros((2, *shape[1:]), dtype=np.uint32))
        return columns, keys


def _cut(one: Ciphertext, rows: int) -> Ciphertext:
    parts = one.parts.copy()
    parts[0, :, rows:] = 0
    return replace(one, parts=parts)
