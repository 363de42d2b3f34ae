"""Membership inference on a synthesiser: was this unit in the table that the synthetic rows were made from?

Shadow synthesisers are run on two tables that differ in one unit, the target, and an attacker who knows everything
else tells their outputs apart. What is told apart bounds the real epsilon from below. The same attack on a synthesiser
that protects nobody is the positive control.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from wardline.attacks.auditing.mechanism_audit import audit_mechanism
from wardline.attacks.intervals import auc_interval
from wardline.core import Claim, Control, Measurement, NoProgress, Progress, SecureRandom, need
from wardline.core.checks import at_least
from wardline.data import Contract
from wardline.dp.synthetic import Attribute, Domain, MarginalModel, Synthetic

if TYPE_CHECKING:
    import pyarrow as pa

Synthesizer = Callable[["pa.Table"], Synthetic]
"""Makes a synthetic table from a real one, with fresh noise at each call."""

_CELLS = 16
_REFERENCE = (
    "Stadler, Oprisanu and Troncoso 2022 (shadow synthesisers); Houssiau et al. 2022 (TAPAS: targets, controls); "
    "Golob, Pentyala, Maratkhan and De Cock 2025 (attacks that know the marginals)"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """Two tables that differ in one unit.

    Attributes:
        without: rows that `enforce` returned, at least one.
        target: the rows of one further unit, of the same columns.
        contract: what they hold.

    Raises:
        ValueError: if there is no row, or the columns differ.
    """

    without: pa.Table = field(repr=False)
    target: pa.Table = field(repr=False)
    contract: Contract

    def __post_init__(self) -> None:
        if not self.without.num_rows or not self.target.num_rows:
            raise ValueError("both the table and the target have at least one row")
        if self.without.schema.names != self.target.schema.names:
            raise ValueError("the target has the columns of the table")

    @property
    def with_target(self) -> pa.Table:
        """The larger of the two."""
        return need("pyarrow", extra="data").concat_tables([self.without, self.target]).combine_chunks()


def rarest_row(table: pa.Table, contract: Contract) -> pa.Table:
    """A target that is easy to recognise: in each column a value that the fewest rows have.

    Args:
        table: rows that `enforce` returned; without a column of persons.
        contract: what they hold.

    References: Carlini et al. 2022, section V (outliers are the most exposed); Houssiau et al. 2022.
    """
    domain = Domain.of(contract, cells=_CELLS)
    rarest = []
    for attribute, cells in zip(domain.attributes, domain.encode(table), strict=True):
        counts = np.bincount(cells, minlength=attribute.size)[: attribute.present]
        rarest.append(np.array([int(np.argmin(counts))], dtype=np.int64))
    return domain.decode(rarest, random=SecureRandom()).cast(table.schema)


def bootstrap(table: pa.Table, contract: Contract) -> Synthetic:
    """A synthesiser that protects nobody: rows drawn from the real ones, with replacement. For positive controls."""
    random = SecureRandom()
    places = np.floor(random.uniform(table.num_rows) * table.num_rows).astype(np.int64)
    used = [column.name for column in contract.columns if column.kind != "ignore"]
    claim = Claim(
        id="dp.synthetic.broken",
        quantity="epsilon",
        value=0.0,
        direction="at_most",
        statement="None: this synthesiser copies rows, and stands here to be broken.",
        adversary="nobody",
        reference="Efron 1979",
    )
    return Synthetic(table=table.select(used).take(places), claim=claim, model=None, about={"method": "bootstrap"})


def audit_synthesis(
    make: Synthesizer,
    neighbours: Neighbours,
    *,
    claim: Claim,
    trials: int,
    broken: Synthesizer | None = None,
    sees: Literal["table", "model"] = "table",
    confidence: float = 0.95,
    progress: Progress | None = None,
) -> tuple[Measurement, Measurement]:
    """Attack a synthesiser with shadow runs on two neighbouring tables.

    From each synthetic table the attacker takes figures: how many rows there are, how many agree with the target in
    all columns or in all but one, how near the nearest comes, and how often the target's pairs of values occur compared
    with the real rows that the attacker knows. One who sees the model as well takes the logarithm of the likelihood
    ratio of its noisy counts, which for fixed choices is the best there is.

    Args:
        make: the synthesiser, protected as claimed.
        neighbours: the two tables.
        claim: what it promises; the bound bears on it.
        trials: runs on each table, at least 400.
        broken: the positive control: a synthesiser that does not keep the claim, such as `bootstrap`. If the attacker
            sees the model, it has to show one as well.
        sees: what the attacker gets: the synthetic rows, or the noisy marginals behind them too.
        confidence: of the bound and the interval, in (0, 1).
        progress: told about each run.

    Returns:
        A lower bound on epsilon, and the area under the ROC curve of the best single figure chosen on one half of the
        runs and measured on the other.

    Raises:
        ValueError: for too few trials, or a model that is not there to be seen.

    Guarantee: if the claim holds, the bound exceeds its epsilon with probability at most 1 - `confidence`.
    """
    at_least("trials", trials, 400)
    began = time.perf_counter()
    told = progress or NoProgress()
    told.start("shadow synthesisers", trials * (2 if broken is None else 4))
    shadow = _Shadow(neighbours, sees, told)
    control = None if broken is None else _Shadow(neighbours, sees, told)
    bound = audit_mechanism(
        lambda count: shadow.runs(make, count, member=True),
        lambda count: shadow.runs(make, count, member=False),
        claim=claim,
        trials=trials,
        confidence=confidence,
        broken=None
        if broken is None or control is None
        else (
            lambda count: control.runs(broken, count, member=True),
            lambda count: control.runs(broken, count, member=False),
        ),
        name=f"synthesis.{sees}",
    )
    told.finish()
    area = _area(shadow, claim, confidence, control, name=f"synthesis.{sees}.auc", seconds=time.perf_counter() - began)
    return bound, area


class _Shadow:
    """Runs a synthesiser on either table and turns what comes out into figures."""

    def __init__(self, neighbours: Neighbours, sees: Literal["table", "model"], progress: Progress) -> None:
        self._tables = {True: neighbours.with_target, False: neighbours.without}
        self._sees = sees
        self._progress = progress
        self._domain = Domain.of(neighbours.contract, cells=_CELLS)
        self._known = self._domain.encode(neighbours.without)
        self._target = self._domain.encode(neighbours.target)
        self._neighbours = neighbours
        self._usual = np.log(self._pairs(self._known) + 0.5)
        self.figures: dict[bool, npt.NDArray[np.float64]] = {}

    def runs(self, make: Synthesizer, count: int, *, member: bool) -> npt.NDArray[np.float64]:
        """The figures of so many runs, one line each."""
        lines = []
        for done in range(count):
            lines.append(self._figures_of(make(self._tables[member])))
            self._progress.advance(done + 1)
        self.figures[member] = np.array(lines)
        return self.figures[member]

    def _figures_of(self, made: Synthetic) -> list[float]:
        cells = self._domain.encode(made.table)
        figures = [float(made.table.num_rows)]
        away = np.full(made.table.num_rows, len(cells))
        for row in range(len(self._target[0])):
            differs = sum(
                (column != target[row]).astype(np.int64) for column, target in zip(cells, self._target, strict=True)
            )
            away = np.minimum(away, differs)
        figures += [float((away == 0).sum()), float((away <= 1).sum()), -float(away.min(initial=len(cells)))]
        figures.append(float((np.log(self._pairs(cells) + 0.5) - self._usual).sum()))
        if self._sees == "model":
            if made.model is None:
                raise ValueError("this synthesiser shows no model")
            figures.append(_log_likelihood_ratio(made.model, self._neighbours))
        return figures

    def _pairs(self, cells: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float64]:
        """How many rows share each pair of values with the target."""
        same = [np.isin(column, target) for column, target in zip(cells, self._target, strict=True)]
        return np.array([float((one & other).sum()) for one, other in itertools.combinations(same, 2)])


def _log_likelihood_ratio(model: MarginalModel, neighbours: Neighbours) -> float:
    """How much more probable the noisy counts are with the target than without it, as a logarithm.

    A clique's counts that a target moves by k in a cell where n others are count as (2k (y - n) - k**2) / (2 variance).
    """
    groups = [
        tuple(coarse.groups[cells] for cells in _encoded(attribute, neighbours))
        for attribute, coarse in zip(model.domain.attributes, model.coarsenings, strict=True)
    ]
    total = 0.0
    for one in model.measurements:
        shape = one.counts.shape
        lines = [np.ravel_multi_index([groups[column][side] for column in one.clique], shape) for side in (0, 1)]
        known = np.bincount(lines[0], minlength=math.prod(shape))
        cells, moved = np.unique(lines[1], return_counts=True)
        away = one.counts.ravel()[cells] - known[cells]
        total += float(((2 * moved * away - moved**2) / (2 * one.variance.ravel()[cells])).sum())
    return total


def _encoded(attribute: Attribute, neighbours: Neighbours) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return (
        attribute.encode(neighbours.without.column(attribute.name)),
        attribute.encode(neighbours.target.column(attribute.name)),
    )


def _area(
    shadow: _Shadow, claim: Claim, confidence: float, control: _Shadow | None, *, name: str, seconds: float
) -> Measurement:
    """The area under the ROC curve of the figure that does best on the first half, on the second half."""
    found = _best_area(shadow)
    trials = len(shadow.figures[True]) - len(shadow.figures[True]) // 2
    interval = auc_interval(found, trials, trials, level=confidence)
    told = None
    if control is not None and control.figures:
        value = _best_area(control)
        ends = auc_interval(value, trials, trials, level=confidence)
        told = Control(
            description="the same attack on a synthesiser that protects nobody",
            value=value,
            interval=ends,
            threshold=0.6,
            passed=ends.low > 0.6,
        )
    details: dict[str, Any] = {"chance": 0.5}
    return Measurement(
        id=name,
        quantity="auc",
        value=found,
        interval=interval,
        trials=2 * trials,
        subject="released",
        bears_on=claim.id,
        control=told,
        method="shadow synthesisers on two neighbouring tables",
        reference=_REFERENCE,
        details=details,
        seconds=seconds,
    )


def _best_area(shadow: _Shadow) -> float:
    half = len(shadow.figures[True]) // 2
    first = [
        _auc(shadow.figures[True][:half, column], shadow.figures[False][:half, column])
        for column in range(shadow.figures[True].shape[1])
    ]
    best = int(np.argmax([abs(one - 0.5) for one in first]))
    area = _auc(shadow.figures[True][half:, best], shadow.figures[False][half:, best])
    return area if first[best] >= 0.5 else 1.0 - area


def _auc(positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]) -> float:
    """The probability that a member's figure is larger than a non-member's; ties count half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    until = np.searchsorted(ordered, positive, side="right")
    return float((below + until).mean() / (2 * len(negative)))
