"""The server's half of a network: layers on encrypted columns, and replies that leave as fresh ciphertexts, flooded.

All of it is exact arithmetic on residues, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add, multiply
from wardline.he.kernels.modular import scale as times
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.sums import weighted_sums
from wardline.he.kernels.switching import divide_by_last, relinearise
from wardline.he.kernels.transform import to_evaluations
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.network.plan import BLOCK, CHUNK, LayerPlan, NetworkPlan, NetworkWeights, SecretLayer
from wardline.he.network.stages import Group, Places, last_uses
from wardline.he.parameters import Parameters


def replies(
    columns: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: NetworkPlan,
    secret: NetworkWeights,
    random: SecureRandom | None = None,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """Encrypted outputs of the rows in these columns, one ciphertext each, fit to leave the server.

    Args:
        columns: input j of all rows in ciphertext j, from the client.
        keys: the client's, with a relinearisation key where the plan needs one.
        plan: a protected one.
        secret: the server's integers.
        random: where noise comes from; None takes a fresh source that nobody can predict.
        threads: among which the work is shared out; results without noise do not depend on it. The BLAS may have
            threads of its own.

    Raises:
        ValueError: for columns or keys of other parameters, another number of columns, or a plan without protection.

    Guarantee: for keys and ciphertexts that were made as `SealLattice` makes them, and rows within the calibrated
    ranges, the owner of the secret key learns the exact outputs of the rounded network at the numbers that it encrypted
    and noise whose distribution is within 2^-40 a coefficient of one that does not depend on the weights; the second
    part cannot be told from uniform under the ring-LWE assumption. The bound on what the noise covers takes rounding
    errors as independent and uniform, as is usual for CKKS, and nine standard deviations. It does not protect against
    what outputs say themselves: rows must be metered, since enough outputs determine a network. Rows beyond the
    ranges make noise larger by as much as they and what comes of them are, and take as much from the 40 bits. A client
    that makes keys or ciphertexts dishonestly may learn more.

    References: Gentry 2009, section 8.4 (flooding); Li, Micciancio, Schultz, Sorrell 2022 (flooding for CKKS).
    """
    if plan.flood_bits is None:
        raise ValueError("the plan has no protection: its answers must not leave the server")
    sums = _outputs(columns, keys, plan, secret, threads)
    parameters, source = plan.parameters, SecureRandom() if random is None else random
    moduli = parameters.moduli[: sums.shape[2]]
    zeros = encryptions_of_zero(source, keys.public, count=plan.outputs, moduli=moduli, form="evaluations")
    hidden = add(sums, zeros, moduli=moduli)
    noise = flooding(source, (plan.outputs, parameters.degree), bits=plan.flood_bits, moduli=moduli)
    hidden[:, 0] = add(np.ascontiguousarray(hidden[:, 0]), to_evaluations(noise, moduli=moduli), moduli=moduli)
    # What is dropped is a function of what was hidden, and tells no more than that.
    hidden = _drop(hidden, moduli, len(moduli) - plan.reply_limbs)
    return _ciphertexts(hidden, plan, plan.reply_scale)


def unsafe_replies(
    columns: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: NetworkPlan,
    secret: NetworkWeights,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """The bare outputs: their noise and their second parts are functions of the weights. They must not leave.

    It is what `replies` hides, for comparisons and for attacks to succeed on; with the same arguments and errors, and a
    plan of either kind.
    """
    return _ciphertexts(_outputs(columns, keys, plan, secret, threads), plan, plan.layers[-1].scale)


def _ciphertexts(parts: Residues, plan: NetworkPlan, scale: float) -> tuple[Ciphertext, ...]:
    return tuple(Ciphertext(parameters=plan.parameters, parts=one, form="evaluations", scale=scale) for one in parts)


def _outputs(
    columns: SeededColumns, keys: EvaluationKeys, plan: NetworkPlan, secret: NetworkWeights, threads: int
) -> Residues:
    parameters = plan.parameters
    if columns.parameters != parameters or columns.form != "evaluations" or columns.limbs != len(parameters.moduli):
        raise ValueError("the columns were encrypted under other parameters than the network's")
    if columns.scale != plan.input_scale or len(columns) != plan.inputs:
        raise ValueError(f"the network reads {plan.inputs} columns of one scale, and these are others")
    if keys.parameters != parameters or (plan.relinearises and keys.relinearisation is None):
        raise ValueError("the keys belong to other parameters, or lack the one that relinearises products")
    if threads < 1:
        raise ValueError("threads must be at least 1")
    with ThreadPoolExecutor(threads) as pool:
        return _Evaluation(plan, secret, keys, pool, threads).run(columns)


class _Evaluation:
    """One batch on its way through the layers."""

    def __init__(
        self, plan: NetworkPlan, secret: NetworkWeights, keys: EvaluationKeys, pool: ThreadPoolExecutor, threads: int
    ) -> None:
        self._plan, self._secret, self._keys, self._pool, self._threads = plan, secret, keys, pool, threads
        self._degree = plan.parameters.degree

    def run(self, columns: SeededColumns) -> Residues:
        """[outputs, 2, limbs, degree] at the last layer's scale."""
        plan, secret = self._plan, self._secret
        first = plan.layers[0]
        left = first.limbs - first.dropped
        if not first.squared:
            found = np.empty((first.outputs, 2, left, self._degree), dtype=np.uint32)
            for outputs, block in self._first(columns):
                found[outputs] = self._finished(block, 0)
            return found
        sums = self._empty_sums(1)
        for outputs, block in self._first(columns):
            self._collect(sums, self._squared(self._finished(block, 0), 0), 1, outputs)
        for index in range(1, len(plan.layers)):
            values = self._finished(self._relinearised(sums, index), index)
            if not plan.layers[index].squared:
                return values
            sums = self._empty_sums(index + 1)
            for start in range(0, len(values), BLOCK):
                block = self._squared(values[start : start + BLOCK], index)
                self._collect(sums, block, index + 1, np.arange(start, start + len(block)))
        raise AssertionError(f"{len(secret.layers)} layers end in a square")

    def _first(self, columns: SeededColumns) -> Iterator[tuple[Places, Residues]]:
        """Places and sums [outputs, 2, limbs, degree] of the first layer's blocks; seeds are expanded when needed."""
        blocks, parameters = self._secret.layers[0].blocks, self._plan.parameters
        last, moduli = last_uses(blocks), parameters.moduli
        live = np.empty((self._plan.layers[0].live, len(moduli), self._degree), dtype=np.uint32)
        free, places = list(range(len(live)))[::-1], {}
        for index, block in enumerate(blocks):
            needed = sorted({one for group in block for one in group.inputs.tolist()})
            new = [one for one in needed if one not in places]
            places.update({one: free.pop() for one in new})
            self._expand(columns, new, [places[one] for one in new], live)
            outputs = np.concatenate([group.outputs for group in block])
            yield outputs, self._block(columns.c0, live, places, block)
            for one in needed:
                if last[one] == index:
                    free.append(places.pop(one))

    def _expand(self, columns: SeededColumns, inputs: list[int], places: list[int], live: Residues) -> None:
        def piece(first: int, past: int) -> None:
            live[places[first:past]] = expand(columns.seeds[inputs[first:past]], self._plan.parameters)

        self._share(len(inputs), CHUNK, piece)

    def _block(self, c0: Residues, live: Residues, places: dict[int, int], block: tuple[Group, ...]) -> Residues:
        moduli = self._plan.parameters.moduli
        weights = self._secret.layers[0].weights
        total = sum(len(group.outputs) for group in block)
        out = np.empty((total, 2, len(moduli), self._degree), dtype=np.uint32)

        def limb(number: int, _: int) -> None:
            start = 0
            for group in block:
                past = start + len(group.outputs)
                chosen = np.ascontiguousarray(weights[np.ix_(group.outputs, group.inputs)])
                seconds = np.array([places[one] for one in group.inputs.tolist()])
                for part, terms in enumerate((c0[group.inputs, number], live[seconds, number])):
                    out[start:past, part, number] = _one_limb(terms, chosen, moduli[number])
                start = past

        self._share(len(moduli), 1, limb)
        return self._with_offset(out, 0, np.concatenate([group.outputs for group in block]))

    def _empty_sums(self, index: int) -> Residues:
        layer = self._plan.layers[index]
        return np.zeros((layer.outputs, 3, layer.limbs, self._degree), dtype=np.uint32)

    def _collect(self, sums: Residues, squares: Residues, index: int, inputs: Places) -> None:
        """Add to a layer's sums what some of its inputs give."""
        weights = np.ascontiguousarray(self._secret.layers[index].weights[:, inputs])

        def limb(number: int, _: int) -> None:
            moduli = self._plan.parameters.moduli[number : number + 1]
            for part in range(3):
                terms = np.ascontiguousarray(squares[:, part : part + 1, number : number + 1])
                found = weighted_sums(terms, weights, moduli=moduli)
                held = sums[:, part : part + 1, number : number + 1]
                held[...] = add(np.ascontiguousarray(held), found, moduli=moduli)

        self._share(sums.shape[2], 1, limb)

    def _relinearised(self, sums: Residues, index: int) -> Residues:
        key = self._keys.relinearisation
        assert key is not None
        out = np.empty((len(sums), 2, *sums.shape[2:]), dtype=np.uint32)

        def piece(first: int, past: int) -> None:
            out[first:past] = relinearise(sums[first:past], key, self._plan.parameters, form="evaluations")

        self._share(len(sums), CHUNK, piece)
        return self._with_offset(out, index, np.arange(len(sums)))

    def _with_offset(self, sums: Residues, index: int, outputs: Places) -> Residues:
        """The offsets added in place: a constant is the same at every evaluation."""
        layer, before = self._secret.layers[index], self._plan.input_scale
        if index:
            before = self._plan.layers[index - 1].scale ** 2
        moduli = self._plan.parameters.moduli[: sums.shape[2]]
        for place, output in enumerate(outputs.tolist()):
            whole = int(layer.offset[output] * layer.weight_scale * before)
            for limb, prime in enumerate(moduli):
                row = sums[place, 0, limb]
                row += np.uint32(whole % prime)  # below 2^32
                np.minimum(row, row - np.uint32(prime), out=row)
        return sums

    def _finished(self, sums: Residues, index: int) -> Residues:
        """Sums with the layer's primes dropped."""
        layer = self._plan.layers[index]
        moduli = self._plan.parameters.moduli[: layer.limbs]
        out = np.empty((len(sums), 2, layer.limbs - layer.dropped, self._degree), dtype=np.uint32)

        def piece(first: int, past: int) -> None:
            out[first:past] = _drop(sums[first:past], moduli, layer.dropped)

        self._share(len(sums), CHUNK, piece)
        return out

    def _squared(self, values: Residues, index: int) -> Residues:
        out = np.empty((len(values), 3, *values.shape[2:]), dtype=np.uint32)
        layer, hidden = self._plan.layers[index], self._secret.layers[index]

        def piece(first: int, past: int) -> None:
            out[first:past] = _bent(values[first:past], layer, hidden, self._plan.parameters)

        self._share(len(values), CHUNK, piece)
        return out

    def _share(self, count: int, size: int, work: Callable[[int, int], None]) -> None:
        """Do the work on pieces of at most so many, on all threads."""
        pieces = [(first, min(first + size, count)) for first in range(0, count, size)]
        if self._threads == 1:
            for first, past in pieces:
                work(first, past)
            return
        for job in [self._pool.submit(work, first, past) for first, past in pieces]:
            job.result()


def _one_limb(terms: Residues, weights: npt.NDArray[np.int64], prime: int) -> Residues:
    """Weighted sums of rows of one limb: [terms, degree] to [outputs, degree]."""
    return weighted_sums(terms[:, None, None], weights, moduli=(prime,))[:, 0, 0]


def _bent(values: Residues, layer: LayerPlan, hidden: SecretLayer, parameters: Parameters) -> Residues:
    """x^2 + s x in three parts, at the square of the scale."""
    moduli = parameters.moduli[: values.shape[2]]
    zeroth, first = np.ascontiguousarray(values[:, 0]), np.ascontiguousarray(values[:, 1])
    cross = multiply(zeroth, first, moduli=moduli)
    found = [multiply(zeroth, zeroth, moduli=moduli), add(cross, cross, moduli=moduli)]
    if hidden.slope:
        factor = int(hidden.slope * layer.scale)
        for part, one in enumerate((zeroth, first)):
            multiple = times(one, [factor] * len(moduli), moduli=moduli)
            found[part] = add(found[part], multiple, moduli=moduli)
    return np.stack([*found, multiply(first, first, moduli=moduli)], axis=1)


def _drop(polynomials: Residues, moduli: tuple[int, ...], count: int) -> Residues:
    for left in range(len(moduli), len(moduli) - count, -1):
        polynomials = divide_by_last(polynomials, moduli=moduli[:left], form="evaluations")
    return polynomials
