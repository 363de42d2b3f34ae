"""Which packing of a model is cheaper for as many rows as are expected at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.core.errors import UsageError
from wardline.he.compiler.calibration import calibrate
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Program
from wardline.he.cost.prediction import Predicted, seconds
from wardline.he.cost.speeds import Speeds, measure_speeds
from wardline.he.linear.plan import plan_linear
from wardline.he.network.choice import plan_network
from wardline.he.network.stages import stages_of

Packing: TypeAlias = Literal["linear", "columns", "diagonal"]
"""Feature columns of a linear model, batch columns of a network, or one row at a time by diagonals."""

Weighed: TypeAlias = Literal["server", "whole"]
"""Whether the server's time decides, or the client's as well."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The cheaper packing, and what was weighed.

    Attributes:
        packing: the one that takes less time for the batch that was asked about.
        plan, secret: of it.
        predicted: of every packing that reaches the error.
        refused: why others do not.
        break_even: the least number of rows for which one batch of columns takes no longer than as many diagonals; None
            where one of the two cannot be had or there is no such number.
    """

    packing: Packing
    plan: Any
    secret: Any = field(repr=False)
    predicted: Mapping[Packing, Predicted]
    refused: Mapping[Packing, str]
    break_even: int | None

    def explain(self) -> str:
        """In words and figures."""
        lines = [f"packing: {self.packing}"]
        lines += [f"{name}: {one.explain()}" for name, one in self.predicted.items()]
        lines += [f"{name}: refused, {why}" for name, why in self.refused.items()]
        if self.break_even is not None:
            lines.append(f"columns are cheaper from {self.break_even} rows at a time on")
        return "\n".join(lines)


def choose_packing(
    program: Program,
    sample: npt.NDArray[np.float64],
    *,
    batch: int,
    error: float | None = None,
    margin: float = 0.1,
    weighed: Weighed = "server",
    speeds: Speeds | None = None,
) -> Choice:
    """Plan a protected model in every packing that fits it, and take the one that is faster for a batch.

    Args:
        program: linear maps, and polynomials of low degree.
        sample: typical rows, see `plan_network`.
        batch: rows that are expected at a time, at least 1.
        error: the greatest standard deviation of an output's error that is wanted; None as the plans have it.
        margin: by which share of its width each range is widened on both sides.
        weighed: the server's time alone, or the client's too, for which SEAL is measured on this machine.
        speeds: of the server; None measures this machine.

    Raises:
        UsageError: for a layer that cannot be computed in any packing.
        DataError: for a sample that cannot be calibrated on.
        ValueError: for arguments out of range.
        OverflowError: if no packing reaches the error.
    """
    if batch < 1:
        raise ValueError("batch must be at least 1")
    if weighed not in ("server", "whole"):
        raise ValueError("weighed must be server or whole")
    speeds = measure_speeds() if speeds is None else speeds
    plain = simplify(program)
    made: dict[Packing, tuple[Any, Any]] = {}
    refused: dict[Packing, str] = {}
    if len(stages_of(plain)) == 1 and stages_of(plain)[0].slope is None:
        made["linear"] = _linear(plain, sample, error, margin)
    else:
        # Its module loads what a client may do without.
        from wardline.he.diagonal.choice import plan_diagonal

        attempts: tuple[tuple[Packing, Any], ...] = (("columns", plan_network), ("diagonal", plan_diagonal))
        causes: list[Exception] = []
        for name, planned in attempts:
            try:
                made[name] = planned(program, sample, error=error, margin=margin)
            except (OverflowError, UsageError) as cause:
                refused[name] = str(cause)
                causes.append(cause)
        if not made:
            raise causes[0]
    client = None
    if weighed == "whole":
        from wardline.he.cost.client import measure_client_speeds

        client = measure_client_speeds()
    predicted = {
        name: seconds(plan, speeds, rows=batch, secret=secret if name == "columns" else None, client=client)
        for name, (plan, secret) in made.items()
    }
    best = min(predicted, key=lambda name: _weight(predicted[name], weighed))
    return Choice(
        packing=best,
        plan=made[best][0],
        secret=made[best][1],
        predicted=predicted,
        refused=refused,
        break_even=_break_even(predicted, made["columns"][0].rows, weighed) if len(made) > 1 else None,
    )


def _weight(one: Predicted, weighed: Weighed) -> float:
    return one.server if weighed == "server" else one.whole


def _break_even(predicted: Mapping[Packing, Predicted], room: int, weighed: Weighed) -> int | None:
    columns, diagonal = predicted["columns"], predicted["diagonal"]
    rows = math.ceil(_weight(columns, weighed) / columns.batches / (_weight(diagonal, weighed) / diagonal.batches))
    return rows if rows <= room else None


def _linear(program: Program, sample: npt.NDArray[np.float64], error: float | None, margin: float) -> tuple[Any, Any]:
    rows = program.rows(sample)
    ranges = calibrate(program, rows, margin=margin).ranges[0]
    stage = stages_of(program)[0]
    return plan_linear(stage.weights, stage.offset, low=ranges.low, high=ranges.high, sample=rows, error=error)
