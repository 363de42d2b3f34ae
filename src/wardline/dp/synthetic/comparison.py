"""How near a synthetic table is to real rows. Such a comparison looks at real rows and is a release of its own."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from wardline.core import Interval, Measurement, Seeds, need, to_json
from wardline.core.checks import probability
from wardline.core.rates import clopper_pearson
from wardline.data import Contract, Encoder, Examples, enforce
from wardline.dp.synthetic.domain import Domain

if TYPE_CHECKING:
    import pyarrow as pa

Basis = Literal["public", "holder", "charged"]
"""What permits the comparison: rows that nobody has to protect; nothing, so that it is for the holder's eyes alone; or
noise that the budget was charged for."""

NOTES: Mapping[Basis, str] = {
    "public": "compared with rows that were declared public; may be published",
    "holder": "computed from protected rows without noise: for whoever holds the data; do not publish it",
    "charged": "computed from protected rows under noise that the budget was charged for; may be published",
}

_CELLS = 32
_RESAMPLED = 200
_TSTR = "train on synthetic, test on real: Esteban, Hyland and Raetsch 2017; gradient boosting: Friedman 2001"
_VARIATION = "total variation; interval of its mean: McDiarmid 1989"
_CORRELATION = "Cramer's V: Cramer 1946; bias-corrected: Bergsma 2013; interval: Efron 1979 (basic bootstrap)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How near a synthetic table is to held-out real rows.

    Attributes:
        basis: what permitted the comparison.
        measurements: the figures, each with its interval. Those with the subject ``real`` say how near other real
            rows are to the same held-out ones: no table can be expected to be much nearer.
    """

    basis: Basis
    measurements: tuple[Measurement, ...] = field(repr=False)

    @property
    def note(self) -> str:
        """Whether it may be published, and why."""
        return NOTES[self.basis]

    def value(self, quantity: str, *, subject: str = "synthetic") -> float:
        """One figure.

        Raises:
            KeyError: if it was not measured.
        """
        for one in self.measurements:
            if (one.quantity, one.subject) == (quantity, subject) and one.value is not None:
                return one.value
        raise KeyError((quantity, subject))

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "basis": self.basis,
            "note": self.note,
            "measurements": [to_json(one.to_json()) for one in self.measurements],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The comparison that `to_json` wrote."""
        return cls(
            basis=value["basis"], measurements=tuple(Measurement.from_json(one) for one in value["measurements"])
        )

    def __str__(self) -> str:
        return "\n".join([self.note, *(f"  {one}" for one in self.measurements)])


def quality(
    synthetic: pa.Table,
    contract: Contract,
    *,
    held_out: pa.Table,
    basis: Literal["public", "holder"],
    real: pa.Table | None = None,
    seeds: Seeds | None = None,
    level: float = 0.95,
) -> Quality:
    """Compare a synthetic table with real rows that it was not made from.

    Three questions: how far are the distributions of single columns and of pairs (total variation, on at most 32 cells
    a column); how far is the strength of association of pairs (Cramer's V); and how well does a classifier of the
    contract's target that learns from synthetic rows alone do on real ones.

    Args:
        synthetic: the synthetic rows.
        contract: what both hold.
        held_out: real rows, none of which went into the synthesis.
        basis: ``public`` if nobody has to protect them, for example because those people consented; ``holder`` if the
            figures never leave the holder's hands. Nothing is noised and nothing is charged in either case.
        real: real rows that the synthetic ones stand for; they give every figure a yardstick.
        seeds: for the resampling and the classifier.
        level: of the intervals, in (0, 1).

    Raises:
        DataError: if a table breaks the contract.
        ValueError: for another basis or level.

    References:
        McDiarmid 1989; Cramer 1946; Bergsma 2013; Efron 1979; Clopper and Pearson 1934.
    """
    if basis not in ("public", "holder"):
        raise ValueError("the basis is public or holder; charged_quality computes under noise")
    probability("level", level)
    seeds = seeds or Seeds(0)
    domain = Domain.of(contract, cells=_CELLS)
    tables = {"synthetic": synthetic} | ({} if real is None else {"real": real})
    parts = {subject: enforce_loosely(contract, table) for subject, table in tables.items()}
    tested = enforce_loosely(contract, held_out)
    cells = domain.encode(tested)
    test = Encoder(contract).encode(tested)
    found: list[Measurement] = []
    right: dict[str, npt.NDArray[np.bool_]] = {}
    for subject, table in parts.items():
        columns = domain.encode(table)
        found += _variation(contract, domain, columns, cells, subject=subject, level=level)
        found.append(_association(domain, columns, cells, subject=subject, level=level, seeds=seeds))
        began = time.perf_counter()
        right[subject] = classified(Encoder(contract).encode(table), test, seeds=seeds)
        found.append(_accuracy(right[subject], subject=subject, level=level, seconds=time.perf_counter() - began))
    if real is not None:
        found.append(_gap(right["synthetic"], right["real"], level=level))
    return Quality(basis=basis, measurements=tuple(found))


def enforce_loosely(contract: Contract, table: pa.Table) -> pa.Table:
    """The contract's columns of a table; a synthetic one has no column of persons, and none is needed here."""
    plain = Contract(columns=contract.columns, target=contract.target)
    kept = [name for name in table.column_names if name in {column.name for column in plain.columns}]
    return enforce(plain, table.select(kept), to_learn=False)


def distances(
    domain: Domain, one: list[npt.NDArray[np.int64]], other: list[npt.NDArray[np.int64]], *, ways: int
) -> dict[tuple[str, ...], float]:
    """The total variation between two tables, for each column or each pair of columns."""
    found = {}
    for clique in itertools.combinations(range(len(domain)), ways):
        away = _shares(domain, one, clique) - _shares(domain, other, clique)
        found[tuple(domain.names[column] for column in clique)] = 0.5 * float(np.abs(away).sum())
    return found


def flat(domain: Domain, columns: list[npt.NDArray[np.int64]], clique: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The cell of each row in the table of a clique, numbered in one line."""
    cells = np.zeros(len(columns[0]), dtype=np.int64)
    for column in clique:
        cells = cells * domain.sizes[column] + columns[column]
    return cells


def _shares(domain: Domain, columns: list[npt.NDArray[np.int64]], clique: tuple[int, ...]) -> npt.NDArray[np.float64]:
    size = math.prod(domain.sizes[column] for column in clique)
    shares: npt.NDArray[np.float64] = np.bincount(flat(domain, columns, clique), minlength=size) / len(columns[0])
    return shares


def _variation(
    contract: Contract,
    domain: Domain,
    columns: list[npt.NDArray[np.int64]],
    held_out: list[npt.NDArray[np.int64]],
    *,
    subject: str,
    level: float,
) -> list[Measurement]:
    rows = len(held_out[0])
    # Another row in the place of one moves a mean of total variations by at most 1 / rows; a person has several.
    width = math.sqrt(contract.max_rows_per_unit * math.log(2 / (1 - level)) / (2 * rows))
    measured = []
    for ways, quantity in ((1, "tv_single"), (2, "tv_pairs")):
        if len(domain) < ways:
            continue
        began = time.perf_counter()
        found = distances(domain, columns, held_out, ways=ways)
        mean = float(np.mean(list(found.values())))
        ends = Interval(low=max(0.0, mean - width), high=min(1.0, mean + width), level=level, method="McDiarmid")
        worst = sorted(found.items(), key=lambda item: -item[1])
        measured.append(
            Measurement(
                id=f"quality.{quantity}.{subject}",
                quantity=quantity,
                value=mean,
                interval=ends,
                trials=rows,
                subject=subject,
                method="mean total variation to held-out rows",
                reference=_VARIATION,
                details={"each": [[*names, value] for names, value in (worst if ways == 1 else worst[:20])]},
                seconds=time.perf_counter() - began,
            )
        )
    return measured


def _association(
    domain: Domain,
    columns: list[npt.NDArray[np.int64]],
    held_out: list[npt.NDArray[np.int64]],
    *,
    subject: str,
    level: float,
    seeds: Seeds,
) -> Measurement:
    began = time.perf_counter()
    rows = len(held_out[0])
    draws = seeds.numpy("quality.bootstrap").multinomial(rows, np.full(rows, 1 / rows), size=_RESAMPLED)
    resampled = np.zeros(_RESAMPLED)
    total, pairs = 0.0, list(itertools.combinations(range(len(domain)), 2))
    for pair in pairs:
        shape = domain.sizes[pair[0]], domain.sizes[pair[1]]
        aim = cramers_v(np.bincount(flat(domain, columns, pair), minlength=math.prod(shape)).reshape(shape))
        cells = flat(domain, held_out, pair)
        total += abs(aim - cramers_v(np.bincount(cells, minlength=math.prod(shape)).reshape(shape)))
        for index, weights in enumerate(draws):
            again = np.bincount(cells, weights=weights, minlength=math.prod(shape)).reshape(shape)
            resampled[index] += abs(aim - cramers_v(again))
    value = total / max(len(pairs), 1)
    resampled /= max(len(pairs), 1)
    low, high = np.quantile(resampled - resampled.mean(), [(1 - level) / 2, (1 + level) / 2])
    # Basic bootstrap: resampled figures lie around their mean as the found one lies around its own.
    ends = max(0.0, value - float(high)), value - float(low)
    return Measurement(
        id=f"quality.association.{subject}",
        quantity="association_gap",
        value=value,
        interval=Interval(low=ends[0], high=ends[1], level=level, method="basic bootstrap"),
        trials=rows,
        subject=subject,
        method="mean absolute difference of Cramer's V over pairs of columns",
        reference=_CORRELATION,
        seconds=time.perf_counter() - began,
    )


def cramers_v(counts: npt.NDArray[Any]) -> float:
    """The strength of association in a table of counts, from 0 to 1, corrected for what chance alone shows.

    References: Bergsma 2013.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(np.float64)
    total = counts.sum()
    if min(counts.shape) < 2 or total < 2:
        return 0.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    strength = float(((counts - expected) ** 2 / expected).sum()) / total
    lines, columns = counts.shape
    corrected = max(0.0, strength - (lines - 1) * (columns - 1) / (total - 1))
    most = min(lines - (lines - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1)) - 1
    return math.sqrt(corrected / most) if most > 0 else 0.0


def classified(train: Examples, test: Examples, *, seeds: Seeds) -> npt.NDArray[np.bool_]:
    """Which test rows a gradient-boosted classifier gets right that learns from the other ones."""
    guessed = np.full(len(test), train.y[0])
    if len(np.unique(train.y)) > 1:
        boosting = need("sklearn.ensemble", extra="data").HistGradientBoostingClassifier
        model = boosting(max_iter=60, random_state=seeds.integer("quality.classifier") % 2**32)
        guessed = model.fit(train.x, train.y).predict(test.x)
    right: npt.NDArray[np.bool_] = guessed == test.y
    return right


def _accuracy(right: npt.NDArray[np.bool_], *, subject: str, level: float, seconds: float) -> Measurement:
    return Measurement(
        id=f"quality.accuracy.{subject}",
        quantity="accuracy",
        value=float(right.mean()),
        interval=clopper_pearson(int(right.sum()), len(right), level=level),
        trials=len(right),
        subject=subject,
        method=f"gradient boosting trained on {subject} rows, tested on held-out real ones",
        reference=_TSTR,
        seconds=seconds,
    )


def _gap(synthetic: npt.NDArray[np.bool_], real: npt.NDArray[np.bool_], *, level: float) -> Measurement:
    away = real.astype(np.float64) - synthetic.astype(np.float64)
    rows = len(away)
    mean = float(away.mean())
    width = float(need("scipy.stats", extra="dp").norm.ppf((1 + level) / 2)) * float(away.std(ddof=1)) / math.sqrt(rows)
    return Measurement(
        id="quality.accuracy.gap",
        quantity="accuracy_gap",
        value=mean,
        interval=Interval(low=mean - width, high=mean + width, level=level, method="paired normal"),
        trials=rows,
        subject="synthetic",
        method="accuracy after training on real rows minus after training on synthetic ones, on the same rows",
        reference=_TSTR,
    )
