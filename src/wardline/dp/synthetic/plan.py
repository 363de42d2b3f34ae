"""What a synthesis will do and promise, settled before any row is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wardline.core import Claim
from wardline.core.checks import at_least, positive, probability
from wardline.data import Contract
from wardline.dp.accounting import ZeroConcentrated, calibrate, compose
from wardline.dp.synthetic.domain import MOST_CELLS, Domain

Method = Literal["aim", "mst"]

MOST_ROWS = 100_000_000
"""The most rows that one call draws."""

_REFERENCES = {
    "aim": "McKenna, Mullins, Sheldon and Miklau 2022 (AIM)",
    "mst": "McKenna, Miklau and Sheldon 2021 (MST)",
}
_ACCOUNTING = (
    "Canonne, Kamath and Steinke 2020, theorem 4 (discrete Gaussian); Cesar and Rogers 2021, lemma 3.1 (exponential "
    "mechanism); Feldman and Zrnic 2021, section 4 (noise chosen on the way within a fixed budget)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisOptions:
    """How a model is made. None of it changes what is promised; all of it must be fixed without looking at the rows.

    Attributes:
        cells: into how many cells a range of numbers is cut at most, evenly on the column's scale; from 2 to 65,536.
        bins: about how many groups of cells of a range the model tells apart, from 2.
        merge: whether neighbouring cells of a range are merged into those groups by their noisy counts, which costs
            nothing beyond them. If not, a range has `bins` cells of equal width.
        steps: the most steps of the last fit, from 1.
        most_cells: the most cells of the model's cliques together, for ``aim``; more is slower and can be finer.
    """

    cells: int = 256
    bins: int = 32
    merge: bool = True
    steps: int = 1000
    most_cells: int = 200_000

    def __post_init__(self) -> None:
        if at_least("cells", self.cells, 2) > MOST_CELLS or at_least("bins", self.bins, 2) > MOST_CELLS:
            raise ValueError(f"cells and bins are at most {MOST_CELLS}")
        at_least("steps", self.steps, 1)
        at_least("most_cells", self.most_cells, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisPlan:
    """A synthesis that is decided on; see `plan_synthesis`.

    Attributes:
        contract: what the table may hold.
        epsilon, delta: what may be spent.
        method: ``aim`` or ``mst``.
        rows: how many rows to draw; None for about as many as the table has, as its noisy counts tell.
        options: how the model is made.
        rho: the budget in zero-concentrated terms.
    """

    contract: Contract
    epsilon: float
    delta: float
    method: Method
    rows: int | None
    options: SynthesisOptions
    rho: float

    @property
    def event(self) -> ZeroConcentrated:
        """What the ledger is charged with."""
        return ZeroConcentrated(rho=self.rho)

    @property
    def unit(self) -> str:
        """Whose privacy counts, as the ledger calls it: ``row``, or the column that names the person."""
        return self.contract.unit_column or "row"

    @property
    def domain(self) -> Domain:
        """The cells of the columns."""
        return Domain.of(self.contract, cells=self.options.cells if self.options.merge else self.options.bins)

    def to_json(self) -> dict[str, Any]:
        """Everything that defines the synthesis."""
        return {
            "contract": self.contract.to_policy(),
            "epsilon": self.epsilon,
            "delta": self.delta,
            "method": self.method,
            "rows": self.rows,
            "options": {name: getattr(self.options, name) for name in self.options.__dataclass_fields__},
            "rho": self.rho,
        }

    def claim(self) -> Claim:
        """What everybody is promised who is in the table."""
        most = self.contract.max_rows_per_unit
        who = "row" if self.contract.unit_column is None else f"person with up to {most} rows"
        odds = math.exp(min(self.epsilon, 700.0))
        return Claim(
            id="dp.synthetic",
            quantity="epsilon",
            value=self.epsilon,
            direction="at_most",
            statement=(
                f"Whoever sees the synthetic table can hardly tell whether any one {who} was in the real one: taking "
                f"part multiplies the odds of any conclusion by at most {odds:.4g}, but for a probability of "
                f"{self.delta:g}."
            ),
            adversary=(
                "anyone who sees the synthetic table and the noisy marginals behind it, knows all other rows and the "
                "whole procedure, and has any computing power, except against the cipher behind the noise"
            ),
            parameters={
                "epsilon": self.epsilon,
                "delta": self.delta,
                "epsilon_accounted": compose([self.event], delta=self.delta),
                "rho": self.rho,
                "method": self.method,
                "unit": self.unit,
                "max_rows_per_unit": most,
            },
            assumptions=(
                f"Neighbouring tables differ by adding or removing one {who}.",
                "The data contract (columns, ranges, categories) and all settings are public and were not chosen by "
                "looking at this data.",
                "Rows of one person carry the same identifier; further ones than the bound were left out at random."
                if self.contract.unit_column is not None
                else "Each person has at most one row; for a person with k rows the guarantee is weaker: k times "
                "epsilon, and a delta that grows by more than that.",
                "Nobody watches the computation itself: its memory, its running time, errors about rows that break the "
                "contract.",
                "A comparison of the synthetic table with real rows is not covered.",
            ),
            reference=f"{_REFERENCES[self.method]}; {_ACCOUNTING}",
        )


def plan_synthesis(
    contract: Contract,
    *,
    epsilon: float,
    delta: float,
    method: Method = "aim",
    rows: int | None = None,
    options: SynthesisOptions | None = None,
) -> SynthesisPlan:
    """Settle a synthesis: the budget in zero-concentrated terms, the cells, the claim. No row is read.

    Args:
        contract: what the table may hold.
        epsilon: what may be spent, above 0, at most 1,000.
        delta: the probability mass on which epsilon may not hold, in (0, 1); well below one over the number of units.
        method: ``aim`` is more accurate, ``mst`` faster.
        rows: how many rows to draw, from 1 to 100 million; None for about as many as the table has.
        options: how the model is made.

    Raises:
        ValueError: for a figure out of range.

    Guarantee: the event of the result was composed and found to cost at most epsilon at delta.
    """
    if positive("epsilon", epsilon) > 1000:
        raise ValueError(f"epsilon must be at most 1000, not {epsilon}: beyond that nothing is protected")
    probability("delta", delta)
    if method not in get_args(Method):
        raise ValueError(f"method must be aim or mst, not {method!r}")
    if rows is not None and at_least("rows", rows, 1) > MOST_ROWS:
        raise ValueError(f"rows must be at most {MOST_ROWS:,}, not {rows:,}")
    scale = calibrate(lambda scale: [ZeroConcentrated(rho=_rho(scale))], epsilon=epsilon, delta=delta)
    return SynthesisPlan(
        contract=contract,
        epsilon=epsilon,
        delta=delta,
        method=method,
        rows=rows,
        options=options or SynthesisOptions(),
        rho=_rho(scale),
    )


def _rho(scale: float) -> float:
    return 0.5 / scale**2
