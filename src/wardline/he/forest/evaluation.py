"""The server's half of a forest: sums and products of encrypted bits, and replies that leave as fresh ciphertexts.

All of it is exact arithmetic on residues, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.forest.circuit import Block, Sum
from wardline.he.forest.integers import Integers
from wardline.he.forest.plan import CHUNK, ForestPlan, ForestWeights
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add
from wardline.he.kernels.product import add_products, extend, scale_down, second_base
from wardline.he.kernels.sampling import flooding, uniform
from wardline.he.kernels.slots import add_plain, to_coefficients
from wardline.he.kernels.sums import weighted_sums
from wardline.he.kernels.switching import divide_by_last, relinearise
from wardline.he.kernels.zero import encryptions_of_zero

_TERMS = 8  # of a sum that are gathered at once
_LARGEST_WEIGHTS = 1 << 31  # together, so that accumulators of 62 bits hold them times a residue


def replies(
    columns: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: ForestPlan,
    secret: ForestWeights,
    rows: int | None = None,
    random: SecureRandom | None = None,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """Encrypted outputs of the rows in these columns, one ciphertext each, fit to leave the server.

    Args:
        columns: bit j of all rows in ciphertext j, from the client.
        keys: the client's, with a relinearisation key where the plan needs one.
        plan: of the forest.
        secret: the server's integers.
        rows: how many rows were charged; what slots beyond them hold is hidden. None for all slots.
        random: where noise comes from; None takes a fresh source that nobody can predict.
        threads: among which the work is shared out; results without noise do not depend on it.

    Raises:
        ValueError: for columns or keys of other parameters, another number of columns, or rows out of range.

    Guarantee: for keys and ciphertexts that were made as `SealLattice` makes them, the owner of the secret key learns
    the exact outputs of the charged rows at the bits that it encrypted, and noise whose distribution is within 2^-40 a
    coefficient of one that does not depend on the model or on other slots, which get uniformly random numbers added.
    The second part cannot be told from uniform under the ring-LWE assumption. What the noise covers is bounded by
    twelve standard deviations of a prediction that takes noises of products as uncorrelated.

    It does not protect against what outputs say themselves. Rows of a client's choice give values of leaves, so they
    must be metered. A client that encrypts other numbers than bits gets, for each row and output, one value modulo t
    of a polynomial that equals the forest on bits alone: no more bits of information than a row has, but equations
    that no row would give, which tell decoys from thresholds that are used and which thresholds stand in one tree.
    Ciphertexts whose noise is larger than a fresh one's take as much from the 40 bits. A client that makes its public
    key dishonestly may learn more.

    References: Gentry 2009, section 8.4 (circuit privacy by flooding).
    """
    parameters, source = plan.parameters, SecureRandom() if random is None else random
    charged = plan.rows if rows is None else rows
    if not 1 <= charged <= plan.rows:
        raise ValueError(f"rows must be from 1 to {plan.rows}")
    bare = _outputs(columns, keys, plan, secret, threads)
    assert parameters.plain_modulus is not None
    moduli, plain = parameters.moduli, parameters.plain_modulus
    if charged < plan.rows:
        slots = np.zeros((plan.outputs, plan.rows), dtype=np.int64)
        slots[:, charged:] = uniform(source, plan.outputs * (plan.rows - charged), plain).reshape(plan.outputs, -1)
        bare = add_plain(bare, to_coefficients(slots, plain_modulus=plain), parameters)
    bare = _switched(bare, moduli, plan.flood_limbs)
    moduli = moduli[: plan.flood_limbs]
    zeros = encryptions_of_zero(source, keys.public, count=plan.outputs, moduli=moduli, form="coefficients")
    hidden = add(bare, zeros, moduli=moduli)
    noise = flooding(source, (plan.outputs, parameters.degree), bits=plan.flood_bits, moduli=moduli)
    hidden[:, 0] = add(np.ascontiguousarray(hidden[:, 0]), noise, moduli=moduli)
    # What is dropped is a function of what was hidden, and tells no more than that.
    hidden = _switched(hidden, moduli, plan.reply_limbs)
    return tuple(Ciphertext(parameters=parameters, parts=one, form="coefficients") for one in hidden)


def unsafe_replies(
    columns: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: ForestPlan,
    secret: ForestWeights,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """The bare outputs: their noise and their second parts are functions of the model. They must not leave.

    It is what `replies` hides, for comparisons and for attacks to succeed on; with the same arguments and errors.
    """
    found = _outputs(columns, keys, plan, secret, threads)
    return tuple(Ciphertext(parameters=plan.parameters, parts=one, form="coefficients") for one in found)


def _switched(parts: Residues, moduli: tuple[int, ...], limbs: int) -> Residues:
    """Ciphertexts [..., limbs, degree] with fewer moduli, equal messages, and noise that is smaller in proportion."""
    for left in range(len(moduli), limbs, -1):
        parts = divide_by_last(parts, moduli=moduli[:left], form="coefficients")
    return parts


def _outputs(
    columns: SeededColumns, keys: EvaluationKeys, plan: ForestPlan, secret: ForestWeights, threads: int
) -> Residues:
    parameters = plan.parameters
    if columns.parameters != parameters or columns.form != "coefficients" or columns.limbs != len(parameters.moduli):
        raise ValueError("the columns were encrypted under other parameters than the forest's")
    if len(columns) != len(plan.thresholds) or columns.dropped_bits:
        raise ValueError(f"the forest reads {len(plan.thresholds)} columns, whole ones, and these are others")
    if keys.parameters != parameters or (plan.relinearises and keys.relinearisation is None):
        raise ValueError("the keys belong to other parameters, or lack the one that relinearises products")
    if not np.array_equal(secret.bit_features, plan.thresholds.feature) or len(secret.base) != plan.outputs:
        raise ValueError("the forest's secret part belongs to another plan")
    if threads < 1:
        raise ValueError("threads must be at least 1")
    with ThreadPoolExecutor(threads) as pool:
        return _Evaluation(columns, keys, plan, secret, pool, threads).run()


class _Evaluation:
    """One batch on its way through the circuit."""

    def __init__(
        self,
        columns: SeededColumns,
        keys: EvaluationKeys,
        plan: ForestPlan,
        secret: ForestWeights,
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        self._plan, self._circuit, self._keys = plan, secret.circuit, keys
        self._pool, self._threads = pool, threads
        self._parameters = plan.parameters
        self._terms = max(self._circuit.last, 1)
        self._shape = (len(plan.parameters.moduli), plan.parameters.degree)
        self._bits = columns.c0, expand(columns.seeds, plan.parameters, threads=threads)
        self._held = np.empty((self._circuit.held, 2, *self._shape), dtype=np.uint32)

    def run(self) -> Residues:
        """[outputs, 2, limbs, degree]."""
        parameters, circuit = self._parameters, self._circuit
        moduli = parameters.moduli
        outputs = len(circuit.constant)
        linear = np.zeros((outputs, 2, *self._shape), dtype=np.uint32)
        wide = moduli + second_base(parameters, self._terms)
        crossed: Residues | None = None
        for block in circuit.blocks:
            self._multiply(block)
            for output, found in enumerate(block.linear):
                if len(found):
                    linear[output] = add(linear[output], self._sum(found), moduli=moduli)
            for part in self._last(block, wide):
                crossed = part if crossed is None else add(crossed, part, moduli=wide)
        if crossed is not None:
            key = self._keys.relinearisation
            assert key is not None
            for output in range(outputs):
                scaled = scale_down(crossed[output : output + 1], parameters, terms=self._terms)
                two = relinearise(scaled, key, parameters, form="coefficients")
                linear[output] = add(linear[output], two[0], moduli=moduli)
        constant = np.zeros((outputs, parameters.degree), dtype=np.int64)
        constant[:, 0] = circuit.constant  # the same number in all slots
        return add_plain(linear, constant, parameters)

    def _multiply(self, block: Block) -> None:
        """The block's products, level by level, into what is held."""
        key, done = self._keys.relinearisation, 0
        for level in block.products:
            assert key is not None
            start = done

            def piece(
                first: int,
                past: int,
                level: tuple[tuple[Sum, Sum], ...] = level,
                start: int = start,
                key: Residues = key,
            ) -> None:
                pairs = level[first:past]
                left, right = (
                    extend(np.stack([self._sum(pair[side]) for pair in pairs]), self._parameters) for side in (0, 1)
                )
                products = np.zeros((len(pairs), 3, *left.shape[2:]), dtype=np.uint32)
                add_products(products, left, right, self._parameters)
                scaled = scale_down(products, self._parameters)
                self._held[start + first : start + past] = relinearise(
                    scaled, key, self._parameters, form="coefficients"
                )

            self._share(len(level), piece)
            done += len(level)

    def _last(self, block: Block, wide: tuple[int, ...]) -> list[Residues]:
        """Sums of the block's last products, one for each thread: [outputs, 3, limbs + more, degree] in NTT form."""
        if not block.last:
            return []
        outputs, degree = len(self._circuit.constant), self._parameters.degree
        ends = [len(block.last) * i // self._threads for i in range(self._threads + 1)]

        def piece(number: int) -> Residues:
            found = np.zeros((outputs, 3, len(wide), degree), dtype=np.uint32)
            for wire, sums in block.last[ends[number] : ends[number + 1]]:
                left = self._extended(Sum.of({wire: 1}))
                for output, one in enumerate(sums):
                    if len(one):
                        add_products(
                            found[output : output + 1], left, self._extended(one), self._parameters, terms=self._terms
                        )
            return found

        return list(self._pool.map(piece, range(self._threads)))

    def _extended(self, found: Sum) -> Residues:
        return extend(self._sum(found)[None], self._parameters, terms=self._terms)

    def _sum(self, found: Sum) -> Residues:
        """The residues of a sum of wires, [2, limbs, degree]."""
        moduli = self._parameters.moduli
        if len(found) == 1 and found.weights[0] == 1:
            return np.asarray(self._wires(found.wires)[0], dtype=np.uint32)
        together = max(1, min(_TERMS, _LARGEST_WEIGHTS // int(np.abs(found.weights).max())))
        out: Residues | None = None
        for start in range(0, len(found), together):
            piece = slice(start, start + together)
            part = weighted_sums(self._wires(found.wires[piece]), found.weights[None, piece], moduli=moduli)[0]
            out = part if out is None else add(out, part, moduli=moduli)
        assert out is not None
        return out

    def _wires(self, wires: Integers) -> Residues:
        """[wires, 2, limbs, degree]; bits come before products."""
        bits = int(np.searchsorted(wires, self._circuit.bits))
        out = np.empty((len(wires), 2, *self._shape), dtype=np.uint32)
        for part, every in enumerate(self._bits):
            out[:bits, part] = every[wires[:bits]]
        out[bits:] = self._held[wires[bits:] - self._circuit.bits]
        return out

    def _share(self, count: int, piece: Callable[[int, int], None]) -> None:
        starts = range(0, count, CHUNK)
        for _ in self._pool.map(lambda start: piece(start, min(start + CHUNK, count)), starts):
            pass
