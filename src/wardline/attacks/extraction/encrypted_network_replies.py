"""Attacks on the replies of an encrypted network, by a client with keys of its own.

What a bare reply tells its owner: decryption gives outputs to thirty bits and more behind the step that they are
rounded to. Rows that differ from one another beneath that step have the same rounded outputs, and their unrounded ones
differ by the network's gradient there. So one batch around one row gives every derivative of every output: all weights
of a network of one layer, and the local linear model of a deeper one, which fresh masks alone do not hide.

Errors of fresh ciphertexts, which the owner knows too, say the same and less clearly: the changes that are tried here
are far larger than those errors, and than the rounding of dropped primes that would cover them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardline.attacks.extraction.encrypted_findings import Finding, Technique, correlation_of
from wardline.attacks.extraction.encrypted_linear_replies import BENEATH, Served, Steady, estimated, evenness, repeated
from wardline.attacks.extraction.encrypted_replies import Floats, share_of
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.kernels.modular import subtract
from wardline.he.kernels.transform import to_coefficients
from wardline.he.network.evaluation import unsafe_replies
from wardline.he.network.plan import NetworkPlan, NetworkWeights
from wardline.he.seal.bridge import SealLattice

_DIFFERENCE = 1e-4
"""Of inputs in [-1, 1], for derivatives in the clear: exact but for rounding where polynomials are of degree 2."""

_LARGEST_CHANGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkClient:
    """A client of a network that keeps to the protocol.

    Attributes:
        served: the model.
        lattice: the client's keys.
        keys: the public ones.
        row: around which the network is looked at, scaled to [-1, 1]: [inputs].
    """

    served: Served
    lattice: SealLattice
    keys: EvaluationKeys
    row: Floats

    @property
    def plan(self) -> NetworkPlan:
        """Of the model."""
        plan: NetworkPlan = self.served.public.plan
        return plan

    @property
    def secret(self) -> NetworkWeights:
        """The integers: what the attacks find is compared with what follows from them."""
        secret: NetworkWeights = self.served.secret
        return secret

    def outputs(self, scaled: Floats) -> Floats:
        """Outputs in the clear of rows that are scaled to [-1, 1]: [rows, outputs]."""
        return self.secret.simulate(scaled * self.plan.half_width + self.plan.centre, self.plan)

    def gradient(self) -> Floats:
        """Derivatives at the row, [outputs, inputs]; the first matrix of weights if there is one layer."""
        if len(self.secret.layers) == 1:
            layer = self.secret.layers[0]
            return np.asarray(layer.weights / layer.weight_scale, dtype=np.float64)
        moves = _DIFFERENCE * np.eye(self.plan.inputs)
        ahead, behind = self.outputs(self.row + moves), self.outputs(self.row - moves)
        return np.asarray((ahead - behind).T / (2 * _DIFFERENCE), dtype=np.float64)

    def beneath(self, random: np.random.Generator) -> Technique:
        """Least squares on what rows that differ beneath the rounding step change in unrounded outputs."""
        plan, gradient = self.plan, self.gradient()
        steepest = float(np.sqrt((gradient**2).sum(axis=1)).max())
        change = min(BENEATH * plan.step / max(steepest, 1e-300), _LARGEST_CHANGE)
        changes = change * random.normal(size=(plan.inputs, plan.rows))
        columns = self._encrypted(self.row[:, None] + changes)
        exact = len(self.secret.layers) == 1
        # A derivative counts as recovered within a thousandth of the largest one, a weight if its integer is right.
        unit = 1 / self.secret.layers[0].weight_scale if exact else 2e-3 * float(np.abs(gradient).max())

        def found(raw: Floats) -> Finding:
            return estimated(changes, raw, truth=gradient, unit=unit)

        what = "every weight" if exact else "every derivative of every output"
        return Technique(
            name="beneath-the-step",
            goal=f"reads {what} from unrounded outputs of rows that differ by less than outputs are rounded to",
            reference="Li and Micciancio 2021 (what the digits behind an approximate result tell)",
            control_on="bare replies",
            control=found(self._raw(self._bare(columns))),
            sent=found(self._raw(self._sent(columns))),
        )

    def uncharged(self, random: np.random.Generator) -> Technique:
        """Outputs of rows that stand in a batch of which one row was charged."""
        plan = self.plan
        rows = random.uniform(-1.0, 1.0, size=(plan.rows, plan.inputs))
        columns = self._encrypted(np.ascontiguousarray(rows.T))
        truth = self.outputs(rows).T[:, 1:]

        def found(charged: int) -> Finding:
            raw = self._raw(self.served.evaluate(columns, self.keys, rows=charged))[:, 1:]
            return Finding(of=truth.size, correlation=correlation_of(raw, truth), share=share_of(truth, raw))

        return Technique(
            name="rows-not-charged",
            goal="reads outputs of the other rows in a batch of which one row was charged",
            reference="",
            control_on="the same batch with all rows charged",
            control=found(plan.rows),
            sent=found(1),
        )

    def steady(self) -> Steady:
        """One batch, answered twice; and the same rows encrypted anew, whose bare replies differ by noise alone."""
        rows = np.repeat(self.row[:, None], self.plan.rows, axis=1)
        columns, moduli = self._encrypted(rows), self.plan.parameters.moduli
        bare, sent, again = self._bare(columns), self._sent(columns), self._sent(columns)
        differences = [
            replace(one, parts=subtract(one.parts, other.parts, moduli=moduli[: one.limbs]))
            for one, other in zip(bare, self._bare(self._encrypted(rows)), strict=True)
        ]

        def second(replies: Sequence[Ciphertext]) -> Residues:
            parts = np.stack([one.parts[1] for one in replies])
            return to_coefficients(parts, moduli=moduli[: parts.shape[1]])

        # Slots that are all alike are one coefficient, the first; the others hold noise.
        noise = self.lattice.decrypt_polynomials(sent)[:, 1:]
        return Steady(
            sent_noise=float(noise.std(axis=1).min()),
            evenness=evenness(noise),
            repeated=repeated(noise, self.lattice.decrypt_polynomials(again)[:, 1:]),
            bare_noise=float((self.lattice.decrypt_polynomials(differences) / math.sqrt(2)).std(axis=1).max()),
            bare=second(bare),
            sent=second(sent),
            again=second(again),
        )

    def _encrypted(self, columns: Floats) -> SeededColumns:
        """Numbers in [-1, 1] in all slots, [inputs, slots]: a client need not clip."""
        return self.lattice.encrypt_slots(columns, scale=self.plan.input_scale)

    def _bare(self, columns: SeededColumns) -> tuple[Ciphertext, ...]:
        return unsafe_replies(columns, self.keys, plan=self.plan, secret=self.secret)

    def _sent(self, columns: SeededColumns) -> tuple[Ciphertext, ...]:
        return self.served.evaluate(columns, self.keys, rows=self.plan.rows)

    def _raw(self, replies: Sequence[Ciphertext]) -> Floats:
        """Unrounded outputs, [outputs, slots]."""
        return self.lattice.decrypt_slots(replies)
