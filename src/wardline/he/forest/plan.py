"""How a forest is computed on ciphertexts: what both sides know of it, and what the server alone knows.

Bit i of up to `degree` rows, whether a feature is at most threshold i, is one BFV plaintext, a row a slot. The server
adds and multiplies these bits as a circuit says (`wardline.he.forest.circuit`), and answers one ciphertext an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import SEED_BYTES
from wardline.he.forest.circuit import Circuit, build
from wardline.he.forest.integers import Integers, IntegerTree, Thresholds, sums
from wardline.he.forest.noise import FLOOD_BITS
from wardline.he.forest.trees import Floats
from wardline.he.parameters import MOST_BITS, Parameters

CHUNK = 2
"""Products that a thread works on at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForestPlan:
    """What both sides know of an encrypted forest.

    Attributes:
        parameters: of the encryption.
        thresholds: what clients compare their rows with, the forest's own among them.
        inputs: numbers of a row.
        centre: what an output of 0 steps stands for: [outputs].
        step: what one step of an output stands for. All outputs are whole numbers of steps.
        trees, nodes: how many there are, in all.
        depth: products one after the other.
        products: products of ciphertexts that are relinearised each.
        last: products of ciphertexts that are added up before they are.
        held: products that are held at once.
        seconds: predicted for a batch, by one thread of the machine that the prediction was measured on.
        noise_bits: of the bound of an output's noise before it is switched down, rounded up to a whole number.
        flood_limbs: moduli that are left when the server's noise is added.
        flood_bits: that noise is uniform in [-2^flood_bits, 2^flood_bits).
        reply_limbs: moduli that are left in a reply.
        left_bits: predicted room for noise in a reply, in bits, rounded down to tenths.
        error: root of the mean squared difference to the plain forest over the sample, by rounded leaves alone.
        worst: no output is farther from the plain forest's, for any row.

    Guarantee: its thresholds are public, and so is how large the forest is and how many products it takes. Which split
    uses which threshold, which of them are decoys, and the values of leaves are not in it. The plain modulus tells how
    far outputs can be from `centre`, and `noise_bits` how far leaves are apart, within a factor of two.
    """

    parameters: Parameters
    thresholds: Thresholds
    inputs: int
    centre: Floats
    step: float
    trees: int
    nodes: int
    depth: int
    products: int
    last: int
    held: int
    seconds: float
    noise_bits: float
    flood_limbs: int
    flood_bits: int
    reply_limbs: int
    left_bits: float
    error: float
    worst: float

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return len(self.centre)

    @property
    def rows(self) -> int:
        """How many rows a batch has."""
        return self.parameters.slots

    @property
    def relinearises(self) -> bool:
        """Whether the server needs a key to relinearise products."""
        return self.depth > 0

    def charged(self, rows: int) -> int:
        """How many rows an answer to so many tells of: these alone, since all other slots are uniformly random."""
        return rows

    @property
    def upload_bytes(self) -> int:
        """Of a batch, packed: a seed and c0 for each bit, `bits (64 + degree bits(moduli) / 8)`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli)
        return len(self.thresholds) * (SEED_BYTES + self.parameters.degree * bits // 8)

    @property
    def reply_bytes(self) -> int:
        """Of a batch, packed: two parts for each output, `2 outputs degree bits(reply moduli) / 8`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli[: self.reply_limbs])
        return 2 * self.outputs * self.parameters.degree * bits // 8

    def memory_bytes(self, threads: int = 1) -> int:
        """What the server takes at most for a batch beside the upload and the keys.

        With polynomials of `4 degree` bytes a limb and L limbs, of which a product needs 2 L + 3: the second parts of
        all bits, two parts of every product that is held, for each output a sum of three parts and one of two, and for
        each thread 8 + 30 chunk polynomials of all limbs to sum up, extend, multiply, scale and relinearise.
        """
        limbs = len(self.parameters.moduli)
        wide = 2 * limbs + 3
        held = (len(self.thresholds) + 2 * self.held) * limbs
        outputs = self.outputs * (3 * wide + 8 * limbs)
        working = threads * (8 + 30 * CHUNK) * wide + 16 * limbs
        return 4 * self.parameters.degree * (held + outputs * threads + working)

    def describe_inputs(self, names: Sequence[str]) -> list[str]:
        """For each feature, by how many thresholds it is compared, a line each.

        Args:
            names: of the features, [inputs].
        """
        lines = []
        for index, name in enumerate(names):
            own = self.thresholds.threshold[self.thresholds.feature == index]
            told = f"compared with {len(own)} numbers from {own[0]:.6g} to {own[-1]:.6g}" if len(own) else "not read"
            lines.append(f"{name}: {told}")
        return lines

    def explain(self) -> str:
        """The plan in words and figures."""
        parameters, features = self.parameters, len(np.unique(self.thresholds.feature))
        return "\n".join(
            (
                f"forest: {self.trees} trees of {self.nodes} nodes, {self.inputs} inputs, {self.outputs} outputs; BFV, "
                "exact",
                f"ring {parameters.degree}, {parameters.bits} of {MOST_BITS[parameters.degree]} bits that 128-bit "
                f"security allows, {len(parameters.moduli)} primes, plain modulus {parameters.plain_modulus}; "
                f"{self.rows} rows to a batch",
                f"clients compare {features} features with {len(self.thresholds)} thresholds, which they know",
                f"products of ciphertexts: {self.products} relinearised each, {self.last} added up before, at most "
                f"{self.depth} one after the other; about {self.seconds:.2g} s a batch",
                f"noise against what replies tell of the model: 2^{self.flood_bits}, {FLOOD_BITS} bits above all that "
                f"depends on it; {self.left_bits:.1f} bits of room are left",
                f"outputs in steps of {self.step:.3g}; rounded leaves are off by {self.error:.2g} typical, never by "
                f"more than {self.worst:.2g}; encryption adds no error",
                f"upload {self.upload_bytes / self.rows:.0f} bytes a full row, reply "
                f"{self.reply_bytes / self.rows:.1f}; server memory {self.memory_bytes() / 2**20:.0f} MiB beside the "
                "upload of a batch",
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ForestWeights:
    """The server's half, which never leaves it.

    Attributes:
        trees: of integers.
        base: what is added to their sum, [outputs].
        bit_features: the feature of each bit, as the plan has it: [bits].
    """

    trees: tuple[IntegerTree, ...] = field(repr=False)
    base: Integers = field(repr=False)
    bit_features: npt.NDArray[np.int64] = field(repr=False)

    @cached_property
    def circuit(self) -> Circuit:
        """How they are computed: made when it is first asked for."""
        return build(self.trees, self.base, self.bit_features)

    def steps(self, rows: Floats, plan: ForestPlan) -> Integers:
        """What a server's answers decrypt to, exactly: whole numbers of steps [rows, outputs]."""
        return sums(self.trees, self.base, plan.thresholds.bits(rows))

    def simulate(self, rows: Floats, plan: ForestPlan) -> Floats:
        """The simulated mode: outputs of rounded leaves, without ciphertexts, equal to the encrypted ones.

        Args:
            rows: [rows, inputs], finite.
            plan: of the same forest.
        """
        return np.asarray(plan.centre + plan.step * self.steps(rows, plan), dtype=np.float64)
