"""The server's half of a network: layers on encrypted columns, and replies that leave as fresh ciphertexts, flooded.

All of it is exact arithmetic on residues, so that results depend neither on the number of threads nor on the backend.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.kernels.backend import NUMBA, Backend
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.network.plan import BLOCK, CHUNK, LayerPlan, NetworkPlan, NetworkWeights, SecretLayer
from wardline.he.network.stages import Group, Places, last_uses

_KEPT = (32 << 20) - (64 << 10)

_PIECE = 1 << 18
"""Residues in a piece of work, about: 1 MiB, which the second cache holds."""


def replies(
    columns: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: NetworkPlan,
    secret: NetworkWeights,
    random: SecureRandom | None = None,
    threads: int = 1,
    backend: Backend = NUMBA,
) -> tuple[Ciphertext, ...]:
    """Encrypted outputs of the rows in these columns, one ciphertext each, fit to leave the server.

    Args:
        columns: input j of all rows in ciphertext j, from the client.
        keys: the client's, with a relinearisation key where the plan needs one.
        plan: a protected one.
        secret: the server's integers.
        random: where noise comes from; None takes a fresh source that nobody can predict.
        threads: among which the work is shared out; results without noise do not depend on it.
        backend: computes the residue products; results do not depend on it.

    Raises:
        ValueError: for columns or keys of other parameters, another number of columns, or a plan without protection.

    Guarantee: for keys and ciphertexts that were made as `SealLattice` makes them, and rows within the calibrated
    ranges, the owner of the secret key learns the exact outputs of the rounded network at the numbers that it encrypted
    and noise whose distribution is within 2^-40 a coefficient of one that does not depend on the weights; the second
    part cannot be told from uniform under the ring-LWE assumption. The bound on what the noise covers takes rounding
    errors as independent and uniform, as is usual for CKKS, and nine standard deviations. It does not protect against
    what outputs say themselves: rows must be metered, since enough outputs determine a network. Rows beyond the
    ranges make noise larger by as much as they and what comes of them are, and take as much from the 40 bits; a single
    one of which a number wraps around its modulus (from four times its reach on) spoils all rows of its batch, whose
    outputs are then far too large. A client that makes keys or ciphertexts dishonestly may learn more.

    References: Gentry 2009, section 8.4 (flooding); Li, Micciancio, Schultz, Sorrell 2022 (flooding for CKKS).
    """
    if plan.flood_bits is None:
        raise ValueError("the plan has no protection: its answers must not leave the server")
    flood_bits, parameters = plan.flood_bits, plan.parameters
    with _evaluation(columns, keys, plan, secret, threads, backend) as evaluation:
        sums = evaluation.run(columns)
        moduli = parameters.moduli[: sums.shape[2]]
        hidden = np.empty((plan.outputs, 2, plan.reply_limbs, parameters.degree), dtype=np.uint32)
        turn = threading.Lock()  # a source serves one thread at a time

        def piece(first: int, past: int) -> None:
            count = past - first
            with turn if random is not None else nullcontext():
                source = SecureRandom() if random is None else random
                zeros = encryptions_of_zero(source, keys.public, count=count, moduli=moduli, form="evaluations")
                noise = flooding(source, (count, parameters.degree), bits=flood_bits, moduli=moduli)
            one = add(sums[first:past], zeros, moduli=moduli)
            one[:, 0] = add(
                np.ascontiguousarray(one[:, 0]), backend.to_evaluations(noise, moduli=moduli), moduli=moduli
            )
            # What is dropped is a function of what was hidden, and tells no more than that.
            hidden[first:past] = backend.drop(one, moduli=moduli, count=len(moduli) - plan.reply_limbs)

        evaluation.share(plan.outputs, piece_size(plan.parameters.degree, len(moduli)), piece)
    return _ciphertexts(hidden, plan, plan.reply_scale)


def unsafe_replies(
    columns: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: NetworkPlan,
    secret: NetworkWeights,
    threads: int = 1,
    backend: Backend = NUMBA,
) -> tuple[Ciphertext, ...]:
    """The bare outputs: their noise and their second parts are functions of the weights. They must not leave.

    It is what `replies` hides, for comparisons and for attacks to succeed on; with the same arguments and errors, and a
    plan of either kind.
    """
    with _evaluation(columns, keys, plan, secret, threads, backend) as evaluation:
        return _ciphertexts(evaluation.run(columns), plan, plan.layers[-1].scale)


def _ciphertexts(parts: Residues, plan: NetworkPlan, scale: float) -> tuple[Ciphertext, ...]:
    return tuple(Ciphertext(parameters=plan.parameters, parts=one, form="evaluations", scale=scale) for one in parts)


@contextmanager
def _evaluation(
    columns: SeededColumns,
    keys: EvaluationKeys,
    plan: NetworkPlan,
    secret: NetworkWeights,
    threads: int,
    backend: Backend,
) -> Iterator[_Evaluation]:
    parameters = plan.parameters
    if columns.parameters != parameters or columns.form != "evaluations" or columns.limbs != len(parameters.moduli):
        raise ValueError("the columns were encrypted under other parameters than the network's")
    if columns.scale != plan.input_scale or len(columns) != plan.inputs:
        raise ValueError(f"the network reads {plan.inputs} columns of one scale, and these are others")
    if keys.parameters != parameters or (plan.relinearises and keys.relinearisation is None):
        raise ValueError("the keys belong to other parameters, or lack the one that relinearises products")
    if threads < 1:
        raise ValueError("threads must be at least 1")
    _keep_memory()
    with ThreadPoolExecutor(threads) as pool:
        yield _Evaluation(plan, secret, keys, pool, threads, backend)


@cache
def _keep_memory() -> None:
    """Have the C library keep arrays of up to 32 MiB that are given back, rather than return them to the system.

    To get them anew takes longer than most of what is done with them, and threads wait for each other meanwhile. glibc
    raises its threshold to the size of the largest such array that was ever given back, which once is enough for; other
    libraries do as they like.
    """
    np.empty(_KEPT, dtype=np.uint8)  # given back at once


def piece_size(degree: int, limbs: int) -> int:
    """How many ciphertexts a thread takes at once: what its cache holds, so that pieces also end at nearly one time."""
    return max(1, min(CHUNK, _PIECE // (2 * limbs * degree)))


class _Evaluation:
    """One batch on its way through the layers."""

    def __init__(
        self,
        plan: NetworkPlan,
        secret: NetworkWeights,
        keys: EvaluationKeys,
        pool: ThreadPoolExecutor,
        threads: int,
        backend: Backend,
    ) -> None:
        self._plan, self._secret, self._keys, self._pool, self._threads = plan, secret, keys, pool, threads
        self._degree, self._backend = plan.parameters.degree, backend

    def run(self, columns: SeededColumns) -> Residues:
        """[outputs, 2, limbs, degree] at the last layer's scale."""
        plan, secret = self._plan, self._secret
        first = plan.layers[0]
        most = min(BLOCK, first.outputs)
        if not first.squared:
            found = np.empty((first.outputs, 2, first.left, self._degree), dtype=np.uint32)
            for outputs, block in self._first(columns):
                found[outputs] = self._finished(block, 0, outputs)
            return found
        sums = self._empty_sums(1)
        # Made once: to get memory from the system anew takes longer than to fill it.
        kept = np.empty((most, 2, first.limbs - first.dropped, self._degree), dtype=np.uint32)
        bent = np.empty((most, 3, first.left, self._degree), dtype=np.uint32)
        for outputs, block in self._first(columns):
            values = self._finished(block, 0, outputs, out=kept[: len(block)])
            self._collect(sums, self._bent(values, 0, bent[: len(block)]), 1, outputs)
        del kept, bent, block, values
        for index in range(1, len(plan.layers)):
            values = self._finished(sums, index, np.arange(len(sums)))
            if not plan.layers[index].squared:
                return values
            sums = self._empty_sums(index + 1)
            bent = np.empty((min(BLOCK, len(values)), 3, plan.layers[index].left, self._degree), dtype=np.uint32)
            for start in range(0, len(values), BLOCK):
                some = values[start : start + BLOCK]
                self._collect(
                    sums, self._bent(some, index, bent[: len(some)]), index + 1, np.arange(start, start + len(some))
                )
        raise AssertionError(f"{len(secret.layers)} layers end in a polynomial")

    def _first(self, columns: SeededColumns) -> Iterator[tuple[Places, Residues]]:
        """Places and sums [outputs, 2, limbs, degree] of the first layer's blocks; seeds are expanded when needed.

        The sums of a block lie where those of the one before it lay.
        """
        blocks, parameters = self._secret.layers[0].blocks, self._plan.parameters
        last, moduli = last_uses(blocks), parameters.moduli
        live = np.empty((self._plan.layers[0].live, len(moduli), self._degree), dtype=np.uint32)
        free, places = list(range(len(live)))[::-1], {}
        c0 = np.require(columns.c0, requirements=["C", "W"])  # kernels are compiled anew for what is read-only
        largest = max(sum(len(group.outputs) for group in block) for block in blocks)
        out = np.empty((largest, 2, len(moduli), self._degree), dtype=np.uint32)
        for index, block in enumerate(blocks):
            needed = sorted({one for group in block for one in group.inputs.tolist()})
            new = [one for one in needed if one not in places]
            places.update({one: free.pop() for one in new})
            self._expand(columns, new, [places[one] for one in new], live)
            outputs = np.concatenate([group.outputs for group in block])
            self._block((c0, live), places, block, out[: len(outputs)])
            yield outputs, out[: len(outputs)]
            for one in needed:
                if last[one] == index:
                    free.append(places.pop(one))

    def _expand(self, columns: SeededColumns, inputs: list[int], places: list[int], live: Residues) -> None:
        def piece(first: int, past: int) -> None:
            live[places[first:past]] = expand(columns.seeds[inputs[first:past]], self._plan.parameters)

        self.share(len(inputs), piece_size(self._degree, live.shape[1]), piece)

    def _block(
        self, columns: tuple[Residues, Residues], places: dict[int, int], block: tuple[Group, ...], out: Residues
    ) -> None:
        moduli = self._plan.parameters.moduli
        limbs = len(moduli)
        weights = self._secret.layers[0].weights
        target, starts = out.reshape(-1, self._degree), np.cumsum([0, *(len(group.outputs) for group in block)])
        work = []
        for group, start in zip(block, starts.tolist(), strict=False):
            seconds = np.array([places[one] for one in group.inputs.tolist()])
            chosen = np.ascontiguousarray(weights[np.ix_(group.outputs, group.inputs)])
            work.append((chosen, np.arange(start, start + len(chosen)), group.inputs, seconds))

        def row(number: int, _: int) -> None:
            part, limb = divmod(number, limbs)
            source = columns[part].reshape(-1, self._degree)
            for chosen, outputs, *inputs in work:
                self._backend.add_sums(
                    target,
                    source,
                    chosen,
                    places=((outputs * 2 + part) * limbs + limb, inputs[part] * limbs + limb),
                    prime=moduli[limb],
                    fresh=True,
                )

        self.share(2 * limbs, 1, row)

    def _empty_sums(self, index: int) -> Residues:
        layer = self._plan.layers[index]
        return np.zeros((layer.outputs, 3, layer.limbs, self._degree), dtype=np.uint32)

    def _collect(self, sums: Residues, bent: Residues, index: int, inputs: Places) -> None:
        """Add to a layer's sums what some of its inputs give."""
        weights = np.ascontiguousarray(self._secret.layers[index].weights[:, inputs])
        moduli, limbs = self._plan.parameters.moduli, sums.shape[2]
        target, source = sums.reshape(-1, self._degree), bent.reshape(-1, self._degree)
        outputs, terms = 3 * limbs * np.arange(len(sums)), 3 * limbs * np.arange(len(bent))

        def row(number: int, _: int) -> None:
            prime = moduli[number % limbs]
            places = (outputs + number, terms + number)
            self._backend.add_sums(target, source, weights, places=places, prime=prime, fresh=False)

        self.share(3 * limbs, 1, row)

    def _offset(self, sums: Residues, index: int, outputs: Places) -> None:
        """Add the offsets in place: a constant is the same at every evaluation."""
        layer, before = self._secret.layers[index], self._plan.input_scale
        if index:
            before = self._plan.layers[index - 1].bent_scale
        moduli = self._plan.parameters.moduli[: sums.shape[2]]
        whole = [int(layer.offset[output] * layer.weight_scale * before) for output in outputs.tolist()]
        offsets = np.array([[one % prime for prime in moduli] for one in whole], dtype=np.uint32)
        rows = sums[:, 0]
        rows += offsets[:, :, None]  # below 2^32
        np.minimum(rows, rows - np.array(moduli, dtype=np.uint32)[:, None], out=rows)

    def _finished(self, sums: Residues, index: int, outputs: Places, out: Residues | None = None) -> Residues:
        """Sums in two parts, with offsets and without the layer's primes."""
        layer = self._plan.layers[index]
        moduli = self._plan.parameters.moduli[: layer.limbs]
        if out is None:
            out = np.empty((len(sums), 2, layer.limbs - layer.dropped, self._degree), dtype=np.uint32)
        found = out

        def piece(first: int, past: int) -> None:
            values = sums[first:past]
            if values.shape[1] == 3:
                values = self._relinearised(values)
            self._offset(values, index, outputs[first:past])
            found[first:past] = self._backend.drop(values, moduli=moduli, count=layer.dropped)

        self.share(len(sums), piece_size(self._degree, layer.limbs), piece)
        return found

    def _relinearised(self, values: Residues) -> Residues:
        key = self._keys.relinearisation
        assert key is not None
        return self._backend.relinearise(values, key, self._plan.parameters)

    def _bent(self, values: Residues, index: int, out: Residues) -> Residues:
        """The polynomials of values [count, 2, limbs, degree], in three parts."""
        layer, hidden = self._plan.layers[index], self._secret.layers[index]

        def piece(number: int, _: int) -> None:
            out[number] = self._bend(values[number], layer, hidden)

        self.share(len(values), 1, piece)
        return out

    def _bend(self, y: Residues, layer: LayerPlan, hidden: SecretLayer) -> Residues:
        """y^2 + s y in three parts, at the square of the scale, or what a second product makes of it."""
        moduli = self._plan.parameters.moduli[: y.shape[1]]
        multiples = [(y, int(hidden.slope * layer.scale))] if hidden.slope else []
        first = self._backend.products(y, y, multiples=multiples, moduli=moduli)
        if layer.second is None or hidden.second is None:
            return first
        u = self._backend.drop(self._relinearised(first), moduli=moduli, count=layer.second.dropped)
        # A multiple of the modulus is one of its divisors' too: y loses limbs, and keeps its scale and its noise.
        low, moduli = np.ascontiguousarray(y[:, : u.shape[1]]), moduli[: u.shape[1]]
        scale, bend = layer.second.scale, hidden.second
        multiples = [(low, int(bend.slope * (layer.bent_scale / layer.scale)))]
        if bend.degree == 3:
            return self._backend.products(low, u, multiples=multiples, moduli=moduli)
        return self._backend.products(u, u, multiples=[(u, int(bend.factor * scale)), *multiples], moduli=moduli)

    def share(self, count: int, size: int, work: Callable[[int, int], None]) -> None:
        """Do the work on pieces of at most so many, on all threads."""
        pieces = [(first, min(first + size, count)) for first in range(0, count, size)]
        if self._threads == 1:
            for first, past in pieces:
                work(first, past)
            return
        for job in [self._pool.submit(work, first, past) for first, past in pieces]:
            job.result()
