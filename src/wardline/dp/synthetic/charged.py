"""The same comparison under noise: figures about protected rows that may be published, for a price."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from wardline.core import Interval, Measurement, SecureRandom, Seeds
from wardline.core.checks import positive
from wardline.data import Contract, Encoder
from wardline.dp.accounting import PureDp
from wardline.dp.mechanisms import discrete_laplace, scale_for
from wardline.dp.synthetic.comparison import Quality, classified, enforce_loosely, flat
from wardline.dp.synthetic.domain import Domain

if TYPE_CHECKING:
    import pyarrow as pa

_BITS = 10  # expected counts enter sums as multiples of 2**-10, so that sums are whole numbers
_CELLS = 32
_LEVEL = 0.95


def quality_event(epsilon: float) -> PureDp:
    """What `charged_quality` costs: to be charged before it is called."""
    return PureDp(epsilon=epsilon)


def charged_quality(
    synthetic: pa.Table,
    contract: Contract,
    *,
    held_out: pa.Table,
    epsilon: float,
    seeds: Seeds | None = None,
) -> Quality:
    """Compare a synthetic table with protected rows under noise.

    Four whole numbers are counted on the held-out rows, each with a quarter of epsilon: how many there are, the sums of
    deviations of single columns and of pairs from the synthetic shares, and how many rows a classifier that learnt from
    synthetic ones gets right.

    Args:
        synthetic: the synthetic rows.
        contract: what both hold. A person has at most `max_rows_per_unit` of the held-out rows: bounded by the caller.
        held_out: real rows, none of which went into the synthesis.
        epsilon: what it costs, above 0; the caller charges `quality_event` first.
        seeds: for the classifier, which sees synthetic rows alone.

    Raises:
        ValueError: for an epsilon out of range, or if noise leaves no row to compare with.
        DataError: if a table breaks the contract.

    Guarantee: epsilon-differential privacy for one unit of the held-out rows added or removed, in exact integer
        arithmetic (basic composition of four discrete Laplace mechanisms).

    References: Ghosh, Roughgarden and Sundararajan 2012; Dwork and Roth 2014, theorem 3.16.
    """
    each = positive("epsilon", epsilon) / 4
    random, seeds, most = SecureRandom(), seeds or Seeds(0), contract.max_rows_per_unit
    domain = Domain.of(contract, cells=_CELLS)
    held = enforce_loosely(contract, held_out)
    cells, made = domain.encode(held), enforce_loosely(contract, synthetic)
    columns = domain.encode(made)

    def noisy(exact: int, sensitivity: int) -> tuple[int, float]:
        scale = scale_for(epsilon=each, l1=sensitivity)
        # With probability 1 - 0.05 / 6 the noise is no larger than this; three of them meet in a figure at most.
        return exact + int(discrete_laplace(1, scale=scale, random=random)[0]), scale * math.log(6 / (1 - _LEVEL)) + 1

    rows, rows_width = noisy(held.num_rows, most)
    if rows <= rows_width:
        raise ValueError("the noise leaves no row to compare with; give more held-out rows or a larger epsilon")
    found = []
    for ways, quantity in ((1, "tv_single"), (2, "tv_pairs")):
        cliques = list(itertools.combinations(range(len(domain)), ways))
        total = 0
        for clique in cliques:
            size = math.prod(domain.sizes[column] for column in clique)
            share = np.bincount(flat(domain, columns, clique), minlength=size) / made.num_rows
            expected = np.rint(rows * share * (1 << _BITS)).astype(np.int64)
            counts = np.bincount(flat(domain, cells, clique), minlength=size).astype(np.int64)
            total += int(np.abs((counts << _BITS) - expected).sum())
        sum_, width = noisy(total, most * len(cliques) << _BITS)
        unit = 2 * len(cliques) * (1 << _BITS)
        found.append(_figure(quantity, sum_ / unit, width / unit, rows, rows_width, most))
    right = classified(Encoder(contract).encode(made), Encoder(_rows_only(contract)).encode(held), seeds=seeds)
    correct, width = noisy(int(right.sum()), most)
    found.append(_figure("accuracy", float(correct), width, rows, rows_width, most))
    return Quality(basis="charged", measurements=tuple(found))


def _rows_only(contract: Contract) -> Contract:
    return Contract(columns=contract.columns, target=contract.target)


def _figure(quantity: str, above: float, above_width: float, rows: int, rows_width: float, most: int) -> Measurement:
    """A noisy sum over a noisy number of rows; the interval covers both noises and the chance of the sample."""
    value = min(1.0, max(0.0, above / rows))
    chance = math.sqrt(most * math.log(6 / (1 - _LEVEL)) / (2 * (rows - rows_width)))
    low = (above - above_width) / (rows + rows_width) - chance
    high = (above + above_width) / (rows - rows_width) + chance
    return Measurement(
        id=f"quality.{quantity}.synthetic",
        quantity=quantity,
        value=value,
        interval=Interval(
            low=min(value, max(0.0, low)), high=max(value, min(1.0, high)), level=_LEVEL, method="Laplace and McDiarmid"
        ),
        trials=rows,
        subject="synthetic",
        method="on protected held-out rows, under discrete Laplace noise",
        reference="Ghosh, Roughgarden and Sundararajan 2012; McDiarmid 1989",
    )
