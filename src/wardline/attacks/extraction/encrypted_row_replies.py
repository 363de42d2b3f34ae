"""Attacks on the replies of a network that is computed row by row (diagonals), by a client with keys of its own.

A bare reply tells more here than one of batch columns: its slots hold sums over parts of a layer, and only their sums
are the outputs. So beside unrounded outputs, what must be hidden is everything but the few coefficients that outputs
are read from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardline.attacks.extraction.encrypted_findings import Finding, Technique
from wardline.attacks.extraction.encrypted_linear_replies import BENEATH, Served, Steady, estimated
from wardline.attacks.extraction.encrypted_replies import Floats, share_of
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.diagonal.evaluation import unsafe_replies
from wardline.he.diagonal.keys import GatheredKeys
from wardline.he.diagonal.plan import DiagonalPlan, DiagonalWeights, laid_out
from wardline.he.diagonal.rows import unsafe_raw_outputs
from wardline.he.kernels.modular import subtract
from wardline.he.kernels.transform import to_coefficients
from wardline.he.seal.bridge import SealLattice

_DIFFERENCE = 1e-4
_LARGEST_CHANGE = 1e-3
_MOST_ROWS = 32
_SPARE_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowClient:
    """A client of such a network that keeps to the protocol.

    Attributes:
        served: the model.
        lattice: the client's keys.
        keys: the public ones.
        ready: the same, made ready for this plan once, for bare replies.
        row: around which the network is looked at, scaled to [-1, 1]: [inputs].
    """

    served: Served
    lattice: SealLattice
    keys: EvaluationKeys
    ready: GatheredKeys
    row: Floats

    @property
    def plan(self) -> DiagonalPlan:
        """Of the model."""
        plan: DiagonalPlan = self.served.public.plan
        return plan

    @property
    def secret(self) -> DiagonalWeights:
        """The server's plaintexts: what the attacks find is compared with what follows from them."""
        secret: DiagonalWeights = self.served.secret
        return secret

    def gradient(self) -> Floats:
        """Derivatives at the row, [outputs, inputs], before weights were rounded."""
        moves = _DIFFERENCE * np.eye(self.plan.inputs)
        values = np.concatenate([self.row + moves, self.row - moves])
        for stage in self.secret.stages:
            values = stage.bend(stage.linear(values))
        ahead, behind = np.split(values, 2)
        return np.asarray((ahead - behind).T / (2 * _DIFFERENCE), dtype=np.float64)

    def beneath(self, random: np.random.Generator) -> Technique:
        """Least squares on what rows that differ beneath the rounding step change in unrounded outputs."""
        plan, gradient = self.plan, self.gradient()
        steepest = float(np.sqrt((gradient**2).sum(axis=1)).max())
        change = min(BENEATH * plan.step / max(steepest, 1e-300), _LARGEST_CHANGE)
        count = min(plan.inputs + _SPARE_ROWS, _MOST_ROWS)
        changes = change * random.normal(size=(plan.inputs, count))
        columns = [self._encrypted(self.row + one) for one in changes.T]

        def found(replies: Sequence[Sequence[Ciphertext]]) -> Finding:
            raw = unsafe_raw_outputs(self.lattice, plan, replies, rows=count).T
            # A derivative counts as recovered within a hundredth of the largest one: the true ones are unrounded.
            return estimated(changes, raw, truth=gradient, unit=2e-2 * float(np.abs(gradient).max()))

        return Technique(
            name="beneath-the-step",
            goal="reads derivatives from unrounded outputs of rows that differ by less than outputs are rounded to",
            reference="Li and Micciancio 2021 (what the digits behind an approximate result tell)",
            control_on="bare replies",
            control=found([self._bare(one) for one in columns]),
            sent=found([self._sent(one) for one in columns]),
        )

    def uncharged(self, _: np.random.Generator) -> Technique:
        """What stands in the reply beside the outputs: sums over parts of the last layer."""
        columns = self._encrypted(self.row)
        truth = self._beside(self._bare(columns))
        return Technique(
            name="partial-sums",
            goal="reads sums over parts of the last layer, which stand in the slots beside the outputs",
            reference="",
            control_on="bare replies",
            control=Finding(of=truth.size, share=share_of(truth, self._beside(self._bare(self._encrypted(self.row))))),
            sent=Finding(of=truth.size, share=share_of(truth, self._beside(self._sent(columns)))),
        )

    def steady(self) -> Steady:
        """One row, answered several times; and the same row encrypted anew, whose bare reply differs by noise alone."""
        plan, columns = self.plan, self._encrypted(self.row)
        moduli = plan.parameters.moduli
        (bare,) = self._bare(columns)
        (other,) = self._bare(self._encrypted(self.row))
        difference = replace(bare, parts=subtract(bare.parts, other.parts, moduli=moduli[: bare.limbs]))
        noise = self.lattice.decrypt_polynomials([difference]) / math.sqrt(2)
        count = max(2, -(-32 // plan.outputs))  # numbers enough to know a deviation within a bit
        sent = [self._sent(columns) for _ in range(count)]
        outputs = unsafe_raw_outputs(self.lattice, plan, sent, rows=count)
        exact = unsafe_raw_outputs(self.lattice, plan, [[bare]], rows=1)

        def second(one: Ciphertext) -> Residues:
            return to_coefficients(one.parts[1][None], moduli=moduli[: one.limbs])

        return Steady(
            # An output is a sum over twice as many coefficients as there is room for.
            sent_noise=float((outputs - exact).std()) / math.sqrt(2 * plan.room),
            evenness=None,
            repeated=None,
            bare_noise=float(noise.std()),
            bare=second(bare),
            sent=second(sent[0][0]),
            again=second(sent[1][0]),
        )

    def _encrypted(self, scaled: Floats) -> SeededColumns:
        slots = laid_out(self.plan.input_places, scaled[None])[0]
        return self.lattice.encrypt_slots(slots, scale=self.plan.input_scale)

    def _bare(self, columns: SeededColumns) -> tuple[Ciphertext, ...]:
        return unsafe_replies(columns, self.ready, plan=self.plan, secret=self.secret)

    def _sent(self, columns: SeededColumns) -> tuple[Ciphertext, ...]:
        return self.served.evaluate(columns, self.keys, rows=1)

    def _beside(self, replies: Sequence[Ciphertext]) -> Floats:
        """Coefficients that no output is read from: [1, places]."""
        whole = self.lattice.decrypt_polynomials(replies)
        kept = np.arange(self.plan.room) * (whole.shape[1] // (2 * self.plan.room))
        return np.delete(whole, kept, axis=1)
