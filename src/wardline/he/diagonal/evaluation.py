"""The server's half of a network on one row: matrices by diagonals, and a reply that tells the outputs alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.diagonal.keys import GatheredKeys, gathered
from wardline.he.diagonal.plan import DiagonalPlan, DiagonalWeights, SecretStep, plaintext_at
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.hoisting import Each, relinearised, rotations_sum, serially, weighted_rotations
from wardline.he.kernels.modular import add, multiply
from wardline.he.kernels.modular import scale as times
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.transform import galois_element, to_evaluations
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.network.tiling import withheld


def replies(
    columns: SeededColumns,
    keys: EvaluationKeys | GatheredKeys,
    *,
    plan: DiagonalPlan,
    secret: DiagonalWeights,
    random: SecureRandom | None = None,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """Encrypted outputs of the row in these ciphertexts, in one ciphertext that is fit to leave the server.

    Args:
        columns: a row as the plan lays it out, from the client.
        keys: the client's; `keys.gathered` makes them ready once, which takes longer than a row.
        plan: a protected one.
        secret: the server's plaintexts.
        random: where noise comes from; None takes a fresh source that nobody can predict.
        threads: among which digits and rotations are shared out; results without noise do not depend on it.

    Raises:
        ValueError: for columns or keys of other parameters, another number of columns, or a plan without protection.

    Guarantee: for keys and ciphertexts that were made as `SealLattice` makes them, and a row within the calibrated
    ranges, the owner of the secret key learns the outputs of the network with rounded plaintexts (what
    `DiagonalWeights.simulate` gives), and noise whose distribution is within 2^-40 a coefficient of one that does not
    depend on the weights. Parts of sums that stand in slots of the result do not leave: all coefficients but
    `plan.room` are withheld, and these are sums over everything that belongs to an output. Where that is more than
    there are outputs, the rest sums what plaintexts were rounded by times hidden numbers, which is as small as an
    output's error; uniform noise as large as outputs lies over it (the distance is their ratio, not 2^-40). The second
    part cannot be told from uniform under the ring-LWE assumption. The bound on what the noise covers takes rounding
    errors as independent and uniform, as is usual for CKKS, and 20 standard deviations. An owner that encrypts anything
    else than one row learns `plan.room` numbers of what the same operations make of it: as many as a row's outputs,
    rounded up to a power of two, though not those of a row. It does not protect against what outputs say themselves:
    rows must be metered, since enough outputs determine a network. Rows beyond the ranges make noise larger by as much
    as they and what comes of them are, and take as much from the 40 bits. A client that makes keys dishonestly may
    learn more.

    References: Gentry 2009, section 8.4 (flooding); Li, Micciancio, Schultz, Sorrell 2022 (flooding for CKKS).
    """
    if plan.flood_bits is None:
        raise ValueError("the plan has no protection: its answers must not leave the server")
    whole, ready = _sums(columns, keys, plan, secret, threads)
    parameters, source = plan.parameters, SecureRandom() if random is None else random
    moduli = parameters.moduli[: whole.shape[1]]
    (zero,) = encryptions_of_zero(source, ready.public, count=1, moduli=moduli, form="evaluations")
    noise = to_evaluations(flooding(source, (parameters.degree,), bits=plan.flood_bits, moduli=moduli), moduli=moduli)
    hidden = add(whole, zero, moduli=moduli)
    hidden[0] = add(hidden[0], noise, moduli=moduli)
    if plan.outputs < plan.room:
        hidden[0] = add(hidden[0], _covers(source, plan, moduli), moduli=moduli)
    # What is dropped is a function of what was hidden, and tells no more than that.
    hidden = _drop(hidden, moduli, len(moduli) - plan.reply_limbs)
    return (withheld(_ciphertext(hidden, plan, plan.reply_scale), plan.room),)


def _covers(source: SecureRandom, plan: DiagonalPlan, moduli: tuple[int, ...]) -> Residues:
    """Uniform numbers as large as outputs, for the places of an answer that hold none."""
    count = plan.room - plan.outputs
    slots = np.zeros(plan.parameters.slots)
    slots[plan.outputs : plan.room] = plan.reach * (source.uint64(count) / 2.0**63 - 1.0)
    return plaintext_at(slots, plan.layers[-1].scale, moduli)


def unsafe_replies(
    columns: SeededColumns,
    keys: EvaluationKeys | GatheredKeys,
    *,
    plan: DiagonalPlan,
    secret: DiagonalWeights,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """The bare result: its slots are parts of sums, its noise and its second part functions of the weights.

    It is what `replies` hides, for comparisons and for attacks to succeed on; with the same arguments and errors, and a
    plan of either kind. It must not leave the server.
    """
    return (_ciphertext(_sums(columns, keys, plan, secret, threads)[0], plan, plan.layers[-1].scale),)


def _ciphertext(parts: Residues, plan: DiagonalPlan, scale: float) -> Ciphertext:
    # An output is a sum of slots, and a coefficient of the small polynomial their mean.
    return Ciphertext(parameters=plan.parameters, parts=parts, form="evaluations", scale=scale / plan.repeated)


def _sums(
    columns: SeededColumns,
    keys: EvaluationKeys | GatheredKeys,
    plan: DiagonalPlan,
    secret: DiagonalWeights,
    threads: int,
) -> tuple[Residues, GatheredKeys]:
    """[2, limbs, degree] at the last layer's scale, outputs still in parts all over the slots."""
    parameters = plan.parameters
    if columns.parameters != parameters or columns.form != "evaluations" or columns.limbs != len(parameters.moduli):
        raise ValueError("the columns were encrypted under other parameters than the network's")
    if columns.scale != plan.input_scale or len(columns) != plan.ciphertexts:
        raise ValueError(f"the network reads {plan.ciphertexts} columns of one scale, and these are others")
    if keys.parameters != parameters:
        raise ValueError("the keys belong to other parameters than the network's")
    if threads < 1:
        raise ValueError("threads must be at least 1")
    ready = gathered(plan, keys) if isinstance(keys, EvaluationKeys) else keys
    if threads == 1:
        return _Evaluation(plan, secret, ready, serially).run(columns), ready
    with ThreadPoolExecutor(threads) as pool:

        def each(work: Callable[[int], None], count: int) -> None:
            for _ in pool.map(work, range(count)):
                pass

        return _Evaluation(plan, secret, ready, each).run(columns), ready


class _Evaluation:
    """One row on its way through the layers."""

    def __init__(self, plan: DiagonalPlan, secret: DiagonalWeights, keys: GatheredKeys, each: Each) -> None:
        self._plan, self._secret, self._keys, self._each = plan, secret, keys, each
        self._degree = plan.parameters.degree

    def run(self, columns: SeededColumns) -> Residues:
        """[2, limbs, degree] at the last layer's scale."""
        plan = self._plan
        parts = np.stack([columns.c0, expand(columns.seeds, plan.parameters)], axis=1)
        values: Residues = parts[0]
        for index, (layer, one) in enumerate(zip(plan.layers, self._secret.layers, strict=True)):
            moduli = plan.parameters.moduli[: layer.limbs]
            if index == 0 and layer.move.source is None:
                values = _beside(parts, one, moduli)
            else:
                values = self._turned(values if index == 0 else self._squared(values, index), index)
            values = _drop(self._folded(values, index), moduli, layer.dropped)
            values[0] = add(values[0], one.offset_factor, moduli=moduli[: values.shape[1]])
        return values

    def _squared(self, values: Residues, index: int) -> Residues:
        """x^2 + s x of the results before a step, in two parts, at the square of their scale."""
        before, layer = self._plan.layers[index - 1], self._plan.layers[index]
        slope, key = self._secret.layers[index - 1].slope, self._keys.relinearisations[index]
        assert slope is not None and key is not None
        moduli = self._plan.parameters.moduli[: layer.limbs]
        cross = multiply(values[0], values[1], moduli=moduli)
        first, last = (multiply(one, one, moduli=moduli) for one in values)
        parts = np.stack([first, add(cross, cross, moduli=moduli), last])
        if slope:
            multiple = times(values, [int(slope * before.scale)] * len(moduli), moduli=moduli)
            parts[:2] = add(np.ascontiguousarray(parts[:2]), multiple, moduli=moduli)
        return relinearised(parts, key, moduli=moduli, special=_special(self._plan), group=layer.group, each=self._each)

    def _turned(self, values: Residues, index: int) -> Residues:
        """Baby steps from one decomposition, then giant steps one after the other."""
        layer, factors, keys = self._plan.layers[index], self._secret.layers[index].factors, self._keys.rotations[index]
        move, moduli, special = layer.move, self._plan.parameters.moduli[: layer.limbs], self._plan.parameters.special
        if special is None:  # nothing is rotated
            return multiply(values, np.ascontiguousarray(factors[0, 0]), moduli=moduli)
        babies = {galois_element(step, self._degree): keys[step] for step in move.babies[1:]}
        sums = weighted_rotations(
            values, factors, babies, moduli=moduli, special=special, group=layer.group, each=self._each
        )
        total: Residues = sums[-1]
        for one in sums[-2::-1]:
            turn = {galois_element(move.stride, self._degree): keys[move.stride]}
            turned = rotations_sum(
                total, turn, moduli=moduli, special=special, group=layer.group, itself=False, each=self._each
            )
            total = add(turned, one, moduli=moduli)
        return total

    def _folded(self, values: Residues, index: int) -> Residues:
        layer = self._plan.layers[index]
        moduli = self._plan.parameters.moduli[: layer.limbs]
        for fold in layer.move.folds:
            keys = {galois_element(step, self._degree): self._keys.rotations[index][step] for step in fold}
            values = rotations_sum(
                values, keys, moduli=moduli, special=_special(self._plan), group=layer.group, each=self._each
            )
        return values


def _beside(parts: Residues, secret: SecretStep, moduli: tuple[int, ...]) -> Residues:
    """The client's ciphertexts, each times its plaintext."""
    total: Residues | None = None
    for one, factor in zip(parts, secret.factors, strict=True):
        product = multiply(one, np.ascontiguousarray(factor[: len(moduli)]), moduli=moduli)
        total = product if total is None else add(total, product, moduli=moduli)
    assert total is not None
    return total


def _special(plan: DiagonalPlan) -> int:
    assert plan.parameters.special is not None
    return plan.parameters.special


def _drop(polynomials: Residues, moduli: tuple[int, ...], count: int) -> Residues:
    for left in range(len(moduli), len(moduli) - count, -1):
        polynomials = divide_by_last(polynomials, moduli=moduli[:left], form="evaluations")
    return polynomials
