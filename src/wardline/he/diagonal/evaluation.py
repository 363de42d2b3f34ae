"""The server's half of a network on one row: matrices by diagonals, and a reply that tells the outputs alone."""

from __future__ import annotations

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.diagonal.keys import GatheredKeys, gathered
from wardline.he.diagonal.plan import DiagonalPlan, DiagonalWeights, SecretStep, StepPlan
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.hoisting import relinearised, rotations_sum, weighted_rotations
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
        threads: taken for the sake of other kinds; a row is computed by one.

    Raises:
        ValueError: for columns or keys of other parameters, another number of columns, or a plan without protection.

    Guarantee: for keys and ciphertexts that were made as `SealLattice` makes them, and a row within the calibrated
    ranges, the owner of the secret key learns the outputs of the network with rounded plaintexts (what
    `DiagonalWeights.simulate` gives), and noise whose distribution is within 2^-40 a coefficient of one that does not
    depend on the weights. Sums of single layers that stand in slots of the result do not leave: all coefficients but
    `plan.room` are withheld, and these are sums over everything that belongs to an output. The second part cannot be
    told from uniform under the ring-LWE assumption. The bound on what the noise covers takes rounding errors as
    independent and uniform, as is usual for CKKS, and 20 standard deviations. An owner that encrypts anything else than
    one row learns `plan.room` numbers of what the same operations make of it: as many as a row's outputs, rounded up to
    a power of two, though not those of a row. It does not protect against what outputs say themselves: rows must be
    metered, since enough outputs determine a network. Rows beyond the ranges make noise larger by as much as they and
    what comes of them are, and take as much from the 40 bits. A client that makes keys dishonestly may learn more.

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
    # What is dropped is a function of what was hidden, and tells no more than that.
    hidden = _drop(hidden, moduli, len(moduli) - plan.reply_limbs)
    return (withheld(_ciphertext(hidden, plan, plan.reply_scale), plan.room),)


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
    parts = np.stack([columns.c0, expand(columns.seeds, parameters)], axis=1)
    for index, (layer, one) in enumerate(zip(plan.layers, secret.layers, strict=True)):
        moduli = parameters.moduli[: layer.limbs]
        if index == 0 and layer.move.source is None:
            values = _beside(parts, one, moduli)
        else:
            values = parts[0] if index == 0 else _squared(parts[0], ready, plan, secret, index)
            values = _turned(values, layer, one, ready, plan, index)
        values = _folded(values, layer, ready, plan, index)
        values = _drop(values, moduli, layer.dropped)
        kept = moduli[: values.shape[1]]
        values[0] = add(values[0], one.offset_factor, moduli=kept)
        parts = values[None]
    return parts[0], ready


def _beside(parts: Residues, secret: SecretStep, moduli: tuple[int, ...]) -> Residues:
    """The client's ciphertexts, each times its plaintext."""
    total: Residues | None = None
    for one, factor in zip(parts, secret.factors, strict=True):
        product = multiply(one, np.ascontiguousarray(factor[: len(moduli)]), moduli=moduli)
        total = product if total is None else add(total, product, moduli=moduli)
    assert total is not None
    return total


def _squared(
    values: Residues, ready: GatheredKeys, plan: DiagonalPlan, secret: DiagonalWeights, index: int
) -> Residues:
    """x^2 + s x of the results before a step, in two parts, at the square of their scale."""
    before, layer = plan.layers[index - 1], plan.layers[index]
    slope, key = secret.layers[index - 1].slope, ready.relinearisations[index]
    assert slope is not None and key is not None
    moduli = plan.parameters.moduli[: layer.limbs]
    cross = multiply(values[0], values[1], moduli=moduli)
    parts = np.stack(
        [
            multiply(values[0], values[0], moduli=moduli),
            add(cross, cross, moduli=moduli),
            multiply(values[1], values[1], moduli=moduli),
        ]
    )
    if slope:
        multiple = times(values, [int(slope * before.scale)] * len(moduli), moduli=moduli)
        parts[:2] = add(np.ascontiguousarray(parts[:2]), multiple, moduli=moduli)
    return relinearised(parts, key, moduli=moduli, special=_special(plan), group=layer.group)


def _turned(
    values: Residues, layer: StepPlan, secret: SecretStep, ready: GatheredKeys, plan: DiagonalPlan, index: int
) -> Residues:
    """Baby steps from one decomposition, then giant steps one after the other."""
    move, degree, keys = layer.move, plan.parameters.degree, ready.rotations[index]
    moduli, special = plan.parameters.moduli[: layer.limbs], plan.parameters.special
    if special is None:  # nothing is rotated
        return multiply(values, np.ascontiguousarray(secret.factors[0, 0]), moduli=moduli)
    babies = {galois_element(step, degree): keys[step] for step in move.babies[1:]}
    sums = weighted_rotations(values, secret.factors, babies, moduli=moduli, special=special, group=layer.group)
    total: Residues = sums[-1]
    for one in sums[-2::-1]:
        turn = {galois_element(move.stride, degree): keys[move.stride]}
        turned = rotations_sum(total, turn, moduli=moduli, special=special, group=layer.group, itself=False)
        total = add(turned, one, moduli=moduli)
    return total


def _folded(values: Residues, layer: StepPlan, ready: GatheredKeys, plan: DiagonalPlan, index: int) -> Residues:
    degree, moduli = plan.parameters.degree, plan.parameters.moduli[: layer.limbs]
    for fold in layer.move.folds:
        keys = {galois_element(step, degree): ready.rotations[index][step] for step in fold}
        values = rotations_sum(values, keys, moduli=moduli, special=_special(plan), group=layer.group)
    return values


def _special(plan: DiagonalPlan) -> int:
    assert plan.parameters.special is not None
    return plan.parameters.special


def _drop(polynomials: Residues, moduli: tuple[int, ...], count: int) -> Residues:
    for left in range(len(moduli), len(moduli) - count, -1):
        polynomials = divide_by_last(polynomials, moduli=moduli[:left], form="evaluations")
    return polynomials
