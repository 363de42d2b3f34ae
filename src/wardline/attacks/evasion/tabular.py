"""Evasion of models of tables: few columns changed, and only as far as the table's own rules allow.

Every proposal is a row that could exist: numbers on their grid and within their range, exactly one category of each
group, columns that cannot be changed as they were. So nothing is projected or rounded afterwards, and the search is
over changes of whole columns, which works on trees as well as on networks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from wardline.attacks.evasion._table_search import TableSearch
from wardline.attacks.evasion.moves import Columns
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import UsageError
from wardline.core.checks import at_least, positive
from wardline.models.predictor import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabular:
    """Changes at most so many columns of a row so that it is predicted as another class.

    It uses whatever the adversary sees. With gradients, they choose the changes worth asking about; with scores, all
    changes are asked about; either way the best few rows go on to the next change (beam search). With labels alone,
    all single changes are tried; then rows of other classes lend their columns, and columns are set at random, and what
    is not needed is taken back one column after the other while the class stays changed.

    For a linear model of two classes the search with scores or gradients is exact up to the grid of values, whose ends
    are the ends of each range: the optimum takes the columns with the largest gains, each at an end.

    Attributes:
        changes: the most columns that may be changed, at least 1; a one-hot group counts as one column.
        cost: the largest range-normalised L1 distance (see `Columns.cost`); None for no limit.
        values: how many values of a column of numbers are tried, at least 2.
        beam: how many rows go on to the next change, at least 1.
        queries: the most questions for one example, at least 10.

    Raises:
        ValueError: for a number out of range.

    References: the beam over admissible changes follows Kulynych, Hayes, Samarin and Troncoso 2018 (graph search over
    feature changes) and Kireev, Kulynych and Troncoso 2023 (cost bounds instead of norms); taking back changes is what
    Lowd and Meek 2005 do for Boolean features.
    """

    changes: int = 3
    cost: float | None = None
    values: int = 12
    beam: int = 4
    queries: int = 4000
    id: ClassVar[str] = "evasion.tabular"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Kulynych, Hayes, Samarin and Troncoso 2018; Kireev, Kulynych and Troncoso 2023"

    def __post_init__(self) -> None:
        at_least("changes", self.changes, 1)
        at_least("values", self.values, 2)
        at_least("beam", self.beam, 1)
        at_least("queries", self.queries, 10)
        if self.cost is not None:
            positive("cost", self.cost)

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack rows of a table.

        `details` gains ``changes``: how many successes took how many columns, ``columns``: which columns they
        changed how often, and the median cost of a success.

        Raises:
            UsageError: if the target's inputs are no rows of a table.
        """
        if not isinstance(target.spec, InputSpec):
            raise UsageError("texts have no columns", hint="use an attack of the family text")
        bound = _Bound(settings=self, columns=Columns(target.spec))
        result = attack_examples(bound, target, data, budget=budget, seed=seed)
        return dataclasses.replace(result, details={**result.details, **bound.summary(result)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """The attack on inputs of one specification, without which nobody can count columns."""

    settings: Tabular
    columns: Columns

    @property
    def id(self) -> str:
        return self.settings.id

    @property
    def needs(self) -> Access:
        return self.settings.needs

    @property
    def paper(self) -> str:
        return self.settings.paper

    def threat(self, target: Target) -> Threat:
        mutable = sum(column.mutable for column in self.columns.all)
        cost = "" if self.settings.cost is None else f", cost at most {self.settings.cost:g}"
        return Threat(
            goal="another class",
            access=target.access,
            limits=f"at most {self.settings.changes} of {mutable} columns that can be changed{cost}",
            knowledge="the columns' types and ranges, and other rows of the same table",
        )

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        few = self.columns.changed(changed, original).sum(axis=1) <= self.settings.changes
        cost = self.settings.cost
        result: npt.NDArray[np.bool_] = few if cost is None else few & (self._cost(changed, original) <= cost + 1e-6)
        return result

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        settings = self.settings
        search = TableSearch(
            target,
            batch,
            columns=self.columns,
            moves=self.columns.moves(batch.x, values=settings.values),
            changes=settings.changes,
            most_cost=settings.cost,
            queries=settings.queries,
        )
        if target.access is Access.LABELS:
            search.take_back()
        else:
            search.beam(width=settings.beam)
        return search.checks()

    def summary(self, result: AttackResult) -> dict[str, object]:
        found = result.examples["found"]
        rows, originals = result.examples["adversarial"][found], result.examples["x"][found]
        changed = self.columns.changed(rows, originals)
        counts = Counter(int(count) for count in changed.sum(axis=1))
        names = Counter({c.name: int(n) for c, n in zip(self.columns.all, changed.sum(axis=0), strict=True) if n})
        return {
            "changes": {str(count): counts[count] for count in sorted(counts)},
            "columns": dict(names.most_common()),
            "median_cost": float(np.median(self._cost(rows, originals))) if len(rows) else None,
        }

    def _cost(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.float64]:
        return self.columns.cost(changed, original)
