"""The two searches over changes of columns: forwards with scores, backwards with labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from wardline.attacks.evasion.moves import Columns, Floats, Moves, Rows
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict

_AT_ONCE = 1 << 15  # probes that are asked about together
_SHORTLIST = 32  # changes for each row that gradients let through
_DONORS = 40  # rows of other classes that lend their columns
_DRAWN = 1000  # rows that are changed at random
_CHAINS = 6  # of those that left their class, how many are taken back
_ORDERS = 4  # in how many orders


class TableSearch:
    """Looks for admissible rows of another class, for a batch at once.

    Args:
        target: what is asked.
        batch: what is attacked; finds go into `batch.best`.
        columns: of the table.
        moves: what may be changed.
        changes: the most columns.
        most_cost: the largest cost, or None.
        queries: the most questions for one example.
    """

    def __init__(
        self,
        target: Target,
        batch: Batch,
        *,
        columns: Columns,
        moves: Moves,
        changes: int,
        most_cost: float | None,
        queries: int,
    ) -> None:
        self.target, self.batch, self.columns, self.moves, self.changes = target, batch, columns, moves, changes
        self.most_cost = np.inf if most_cost is None else most_cost + 1e-6
        self.left = np.full(len(batch.x), queries, dtype=np.int64)
        # How good the find of each example is: columns changed, then cost; nothing was found yet.
        self.rank = np.full((len(batch.x), 2), np.inf)
        self.cut = np.zeros(len(batch.x), dtype=np.bool_)
        self.flat = 0

    def beam(self, *, width: int) -> None:
        """Change one column after the other; of each example the best rows go on.

        An example is done with the first number of columns that suffices; of its finds the cheapest counts.
        """
        owners, rows = np.arange(len(self.batch.x)), self.batch.x.copy()
        for _ in range(self.changes):
            if not len(owners):
                return
            states, chosen = self._candidates(owners, rows)
            probes, asked = self.moves.apply(rows[states], chosen), owners[states]
            margins = self._margins(asked, probes)
            self._keep(asked[margins > 0], probes[margins > 0])
            going_on = ~np.isfinite(self.rank[asked, 0]) & np.isfinite(margins)
            asked, probes, margins = asked[going_on], probes[going_on], margins[going_on]
            best = _first_of_each(asked, -margins, width)
            owners, rows = asked[best], probes[best]

    def take_back(self) -> None:
        """Try all single changes, then start from rows that left their class and take back what is not needed."""
        everyone = np.arange(len(self.batch.x))
        states, chosen = self._admitted(everyone, self.batch.x)
        owners = everyone[states]
        probes, kept = self._afford(owners, self.moves.apply(self.batch.x[states], chosen))
        owners = owners[kept]
        left = self._leave(owners, probes)
        self._keep(owners[left], probes[left])
        if self.changes == 1:
            return
        rng = self.batch.seeds.numpy("tabular")
        owners, rows = self._starts(rng)
        owners, rows = np.repeat(owners, _ORDERS), np.repeat(rows, _ORDERS, axis=0)
        # Each chain takes back columns in an order of its own, one question each.
        order = np.argsort(rng.random((len(rows), len(self.columns.all))), axis=1)
        for turn in order.T:
            changed = self.columns.changed(rows, self.batch.x[owners])
            open_ = np.flatnonzero(changed[np.arange(len(rows)), turn])
            probes = rows[open_].copy()
            for column in np.unique(turn[open_]):
                features = list(self.columns.all[column].features)
                mine = turn[open_] == column
                probes[np.ix_(mine, features)] = self.batch.x[owners[open_[mine]]][:, features]
            probes, kept = self._afford(owners[open_], probes)
            open_ = open_[kept]
            left = self._leave(owners[open_], probes)
            rows[open_[left]] = probes[left]
        self._keep(owners, rows)

    def checks(self) -> tuple[Check, ...]:
        """Whether the questions for each example sufficed, and whether gradients told anything."""
        cut = int((self.cut & ~np.isfinite(self.rank[:, 0])).sum())
        checks = [
            Check(
                name="searched",
                outcome=Verdict.INCONCLUSIVE if cut else Verdict.PASS,
                detail=f"for {cut} of {len(self.cut)} examples the questions ended before the search did",
            )
        ]
        if self.target.access is Access.WHITE_BOX:
            checks.append(
                Check(
                    name="zero-gradients",
                    outcome=Verdict.INCONCLUSIVE if self.flat else Verdict.PASS,
                    detail=f"{self.flat} of {len(self.cut)} rows have a gradient of zero",
                )
            )
        return tuple(checks)

    def _candidates(self, owners: Rows, rows: Floats) -> tuple[Rows, Rows]:
        """Which changes of which rows are asked about: indices into rows and into moves."""
        states, chosen = self._admitted(owners, rows)
        if self.target.access is Access.WHITE_BOX:
            gradients = self._gradients(owners, rows)
            gains = gradients @ np.where(self.moves.touches, self.moves.values, 0).T
            gains -= (gradients * rows) @ self.moves.touches.T.astype(np.float32)
            best = _first_of_each(states, -gains[states, chosen], _SHORTLIST)
            states, chosen = states[best], chosen[best]
        _, kept = self._afford(owners[states], rows[states])
        return states[kept], chosen[kept]

    def _admitted(self, owners: Rows, rows: Floats) -> tuple[Rows, Rows]:
        """Changes that change something, of columns that are as they were, within the cost."""
        originals = self.batch.x[owners]
        allowed = ~self.columns.changed(rows, originals)[:, self.moves.column]
        same = ((rows[:, None] == self.moves.values) | ~self.moves.touches).all(axis=2)
        states, chosen = np.nonzero(allowed & ~same)
        if np.isfinite(self.most_cost):
            cost = self.columns.cost(self.moves.apply(rows[states], chosen), originals[states])
            states, chosen = states[cost <= self.most_cost], chosen[cost <= self.most_cost]
        return states, chosen

    def _afford(self, owners: Rows, probes: Floats) -> tuple[Floats, Rows]:
        """The probes that each example has questions left for, and their indices."""
        order = np.argsort(owners, kind="stable")
        counts = np.bincount(owners, minlength=len(self.left))
        place = np.empty(len(owners), dtype=np.int64)
        place[order] = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = np.flatnonzero(place < self.left[owners])
        self.cut |= counts > self.left
        self.left -= np.minimum(counts, self.left)
        return probes[kept], kept

    def _margins(self, owners: Rows, probes: Floats) -> npt.NDArray[np.float64]:
        """The greatest score of another class minus that of the true one; minus infinity for no number."""
        margins = np.empty(len(probes))
        for start in range(0, len(probes), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            scores = self.target.scores(probes[part]).astype(np.float64)
            y = self.batch.y[owners[part]]
            true = scores[np.arange(len(y)), y]
            scores[np.arange(len(y)), y] = -np.inf
            found = scores.max(axis=1) - true
            # Equal scores: the first class wins.
            found[(found == 0) & (scores.argmax(axis=1) < y)] = np.finfo(np.float64).tiny
            margins[part] = np.where(np.isfinite(found), found, -np.inf)
        return margins

    def _leave(self, owners: Rows, probes: Floats) -> npt.NDArray[np.bool_]:
        left = np.zeros(len(probes), dtype=np.bool_)
        for start in range(0, len(probes), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            labels = self.target.labels(probes[part])
            left[part] = (labels >= 0) & (labels != self.batch.y[owners[part]])
        return left

    def _gradients(self, owners: Rows, rows: Floats) -> Floats:
        """Of the margin to the nearest other class, by each feature: [rows, features]."""
        x = torch.from_numpy(rows.copy()).requires_grad_()
        y = torch.from_numpy(self.batch.y[owners])
        scores = self.target.network()(x)
        others = scores.scatter(1, y[:, None], -torch.inf).amax(dim=1)
        (gradient,) = torch.autograd.grad((others - scores.gather(1, y[:, None])[:, 0]).sum(), x)
        found: Floats = gradient.numpy()
        untouched = (rows == self.batch.x[owners]).all(axis=1)
        self.flat += int((untouched & ~found.any(axis=1)).sum())
        return found

    def _starts(self, rng: np.random.Generator) -> tuple[Rows, Floats]:
        """Admissible rows of another class for the examples without a find: of each, those with the fewest changes.

        Rows of other classes lend all that can be changed; and as many columns as may be changed are set at random.
        """
        batch, mutable = self.batch, self.columns.spec.mutable
        owners, rows = [np.zeros(0, dtype=np.int64)], [batch.x[:0]]
        for row in np.flatnonzero(~np.isfinite(self.rank[:, 0])):
            x = batch.x[row]
            others = np.flatnonzero(batch.y != batch.y[row])
            lent = batch.x[others] if mutable is None else np.where(mutable, batch.x[others], x)
            few = self.columns.changed(lent, np.broadcast_to(x, lent.shape)).sum(axis=1)
            rows.append(lent[np.argsort(few, kind="stable")[:_DONORS]])
            rows.append(self._drawn(x, rng))
            owners.append(np.full(len(rows[-1]) + len(rows[-2]), row))
        probes, kept = self._afford(np.concatenate(owners), np.concatenate(rows))
        who = np.concatenate(owners)[kept]
        left = self._leave(who, probes)
        who, probes = who[left], probes[left]
        few = self.columns.changed(probes, batch.x[who]).sum(axis=1)
        best = _first_of_each(who, few, _CHAINS)
        return who[best], probes[best]

    def _drawn(self, x: Floats, rng: np.random.Generator) -> Floats:
        """The row with as many different columns as may be changed set at random, many times over."""
        mutable, first, counts = np.unique(self.moves.column, return_index=True, return_counts=True)
        drawn = np.repeat(x[None], _DRAWN if len(mutable) else 0, axis=0)
        order = np.argsort(rng.random((len(drawn), len(mutable))), axis=1)
        for place in order[:, : self.changes].T:
            drawn = self.moves.apply(drawn, first[place] + rng.integers(counts[place]))
        return drawn

    def _keep(self, owners: Rows, rows: Floats) -> None:
        """Write finds into the batch where they are allowed and the best of their example so far."""
        if not len(owners):
            return
        originals = self.batch.x[owners]
        count = self.columns.changed(rows, originals).sum(axis=1)
        cost = self.columns.cost(rows, originals)
        # The best last, so that it stays of all that are written for one example.
        for at in np.lexsort((-cost, -count)):
            new, owner = (count[at], cost[at]), owners[at]
            if count[at] <= self.changes and cost[at] <= self.most_cost and new < tuple(self.rank[owner]):
                self.rank[owner] = new
                self.batch.best[owner] = rows[at]


def _first_of_each(groups: Rows, keys: npt.NDArray[np.floating], count: int) -> Rows:
    """Indices of the `count` smallest keys of each group."""
    order = np.lexsort((keys, groups))
    sizes = np.bincount(groups) if len(groups) else np.zeros(0, dtype=np.int64)
    place = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[place < count]
