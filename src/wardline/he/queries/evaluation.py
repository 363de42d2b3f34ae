"""The server's half of a query: sums and products of ciphertexts, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns
from wardline.he.kernels import product, slots
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add
from wardline.he.kernels.sampling import flooding, uniform
from wardline.he.kernels.sums import weighted_sums
from wardline.he.kernels.switching import divide_by_last, relinearise
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.queries.circuit import Circuit, Factor
from wardline.he.queries.plan import TablePlan


class Blocks(Protocol):
    """Where stored ciphertexts come from."""

    def columns(self, block: int, places: Sequence[int]) -> SeededColumns:
        """The ciphertexts of one block at these places of `TablePlan.stored`, in this order."""
        ...


def replies(
    table: Blocks,
    keys: EvaluationKeys,
    *,
    plan: TablePlan,
    circuit: Circuit,
    random: SecureRandom | None = None,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """The encrypted answer of a query, one ciphertext for each output, fit to leave the server.

    Args:
        table: the ciphertexts.
        keys: of the table's key.
        plan: of the table.
        circuit: of the query.
        random: where fresh randomness comes from; None takes a source that nobody can predict.
        threads: among which blocks are shared out; the sums do not depend on it.

    Raises:
        ValueError: for keys of other parameters, or a query deeper than the table was encrypted for.
        IntegrityError: for a table whose files were changed.

    Guarantee: of the values the server learns nothing, under the ring-LWE assumption with circular security (the
    relinearisation key encrypts the square of its own secret): not the table, not the answer. It learns what is public:
    the schema, the number of rows, the query, and how often it is asked. It computes what it was asked for or something
    else: nothing here proves which. Every answer is a fresh encryption. For a plan whose reader is ``owner`` its slots
    hold sums over the rows of equal place, and its noise depends on the table: both are the owner's own. For
    ``others`` slots are masked by numbers that are uniform but for their sum, and noise is added that hides what was
    there, if that stayed below the plan's bound, up to a statistical distance of 2^-40 for each coefficient, so that
    whoever has the key, and not the table's ciphertexts, learns totals alone: of each digit of a value, where it has
    several. Totals of many queries may still tell of single rows.

    References: Fan and Vercauteren 2012; Gentry 2009, section 8.4 (circuit privacy by flooding).
    """
    source = SecureRandom() if random is None else random
    # One after the other, so that little memory is taken beside the sums.
    sums = unsafe_sums(table, keys, plan=plan, circuit=circuit, threads=threads)
    made = (fresh(sums[place : place + 1], keys.public, plan=plan, random=source) for place in range(len(sums)))
    return tuple(Ciphertext(parameters=plan.parameters, parts=one[0], form="coefficients") for one in made)


def fresh(found: Residues, public_key: Residues, *, plan: TablePlan, random: SecureRandom) -> Residues:
    """A sum, [1, 2, limbs, degree], as it may leave the server."""
    parameters, moduli = plan.parameters, plan.parameters.moduli
    if plan.reader == "others":
        assert parameters.plain_modulus is not None
        masks = _masks(random, len(found), parameters.degree, parameters.plain_modulus)
        found = slots.add_plain(found, slots.to_coefficients(masks, plain_modulus=parameters.plain_modulus), parameters)
    zeros = encryptions_of_zero(random, public_key, count=len(found), moduli=moduli, form="coefficients")
    found = add(found, zeros, moduli=moduli)
    left, flooded, reply = len(moduli), plan.flood_limbs, plan.reply_limbs
    assert reply is not None
    if flooded is not None:
        assert plan.flood_bits is not None
        found = _switched(found, moduli[:left], flooded)
        left = flooded
        noise = flooding(random, (len(found), parameters.degree), bits=plan.flood_bits, moduli=moduli[:left])
        found[:, 0] = add(np.ascontiguousarray(found[:, 0]), noise, moduli=moduli[:left])
    return _switched(found, moduli[:left], reply)


def unsafe_sums(
    table: Blocks, keys: EvaluationKeys, *, plan: TablePlan, circuit: Circuit, threads: int = 1
) -> Residues:
    """The bare sums, [outputs, 2, limbs, degree]: their noise tells more of the table than the totals do.

    Raises:
        ValueError: as `replies`, or for threads below 1.
        IntegrityError: as `replies`.
    """
    parameters = plan.parameters
    if keys.parameters != parameters or circuit.depth > plan.depth or threads < 1:
        raise ValueError("keys and query must be those of the table, and threads at least 1")
    if plan.depth and keys.relinearisation is None:
        raise ValueError("the table's keys lack the one that products need")
    work = _Work(table=table, keys=keys, plan=plan, circuit=circuit, one=_presence(plan, parameters.degree))
    ends = [plan.blocks * i // threads for i in range(threads + 1)]
    shares = [range(first, last) for first, last in pairwise(ends) if first < last]
    if len(shares) == 1:
        parts = [_share(work, shares[0])]
    else:
        with ThreadPoolExecutor(len(shares)) as pool:
            parts = list(pool.map(lambda share: _share(work, share), shares))
    sums, products = parts[0]
    for other_sums, other_products in parts[1:]:
        sums = add(sums, other_sums, moduli=parameters.moduli)
        products = add(products, other_products, moduli=work.both)
    for place, output in enumerate(work.multiplied):
        assert keys.relinearisation is not None
        scaled = product.scale_down(products[place : place + 1], parameters, terms=plan.blocks)
        sums[output] = relinearise(scaled, keys.relinearisation, parameters, form="coefficients")[0]
    return sums


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    table: Blocks
    keys: EvaluationKeys
    plan: TablePlan
    circuit: Circuit
    one: Residues  # 1 in every slot, times Q / t

    @property
    def multiplied(self) -> list[int]:
        """Outputs that are products with the filter."""
        if not self.circuit.filters:
            return []
        return [place for place, one in enumerate(self.circuit.outputs) if one.factor is not None]

    @property
    def both(self) -> tuple[int, ...]:
        """Moduli of both bases."""
        moduli = self.plan.parameters.moduli
        return moduli + product.second_base(self.plan.parameters, self.plan.blocks) if self.multiplied else moduli


def _share(work: _Work, blocks: range) -> tuple[Residues, Residues]:
    """Sums over some blocks: of outputs that are no products, and of tensor products of the others."""
    parameters, circuit, terms = work.plan.parameters, work.circuit, work.plan.blocks
    shape = parameters.degree
    sums = np.zeros((len(circuit.outputs), 2, len(parameters.moduli), shape), dtype=np.uint32)
    products = np.zeros((len(work.multiplied), 3, len(work.both), shape), dtype=np.uint32)
    for block in blocks:
        loaded, one = _loaded(work, block)
        mask = _mask([_factor(work, loaded, factor, one) for factor in circuit.filters], work)
        if work.multiplied:
            assert mask is not None
            extended = product.extend(mask, parameters, terms=terms)
            for place, output in enumerate(work.multiplied):
                factor = circuit.outputs[output].factor
                assert factor is not None
                value = product.extend(_factor(work, loaded, factor, one), parameters, terms=terms)
                product.add_products(products[place : place + 1], extended, value, parameters, terms=terms)
        for place, wanted in enumerate(circuit.outputs):
            if place in work.multiplied:
                continue
            found = mask if wanted.factor is None else _factor(work, loaded, wanted.factor, one)
            assert found is not None
            sums[place] = add(sums[place], found[0], moduli=parameters.moduli)
    return sums, products


def _loaded(work: _Work, block: int) -> tuple[dict[int, Residues], Residues]:
    """The ciphertexts of a block that the query names, by place; and 1 in the slots that are rows."""
    parameters, used = work.plan.parameters, work.circuit.used
    columns = work.table.columns(block, used)
    if columns.parameters != parameters or columns.form != "coefficients" or columns.limbs != len(parameters.moduli):
        raise ValueError("the table's ciphertexts are of other parameters than its plan")
    parts = np.stack([columns.c0, expand(columns.seeds, parameters)], axis=1)
    rows = min(work.plan.rows - block * parameters.degree, parameters.degree)
    one = work.one if rows == parameters.degree else _presence(work.plan, rows)
    return dict(zip(used, parts, strict=True)), one


def _factor(work: _Work, loaded: dict[int, Residues], factor: Factor, one: Residues) -> Residues:
    """The value of a factor for a block: [1, 2, limbs, degree]."""
    moduli = work.plan.parameters.moduli
    if len(factor.terms) == 1 and factor.terms[0][1] == 1 and not factor.constant:
        return loaded[factor.terms[0][0]][None]
    columns = np.stack([loaded[place] for place, _ in factor.terms])
    weights = np.array([[sign for _, sign in factor.terms]], dtype=np.int64)
    found = weighted_sums(columns, weights, moduli=moduli)
    if factor.constant:
        found[0, 0] = add(np.ascontiguousarray(found[0, 0]), one, moduli=moduli)
    return found


def _mask(factors: list[Residues], work: _Work) -> Residues | None:
    """The product of a filter's factors, as a tree, so that as few products as possible follow each other."""
    parameters, key = work.plan.parameters, work.keys.relinearisation
    while len(factors) > 1:
        assert key is not None
        pairs = zip(factors[0::2], factors[1::2], strict=False)
        made = [
            relinearise(product.multiply_bfv(one, other, parameters), key, parameters, form="coefficients")
            for one, other in pairs
        ]
        factors = made + factors[len(factors) // 2 * 2 :]
    return factors[0] if factors else None


def _presence(plan: TablePlan, rows: int) -> Residues:
    """1 in the first slots and 0 in the others, times Q / t: [limbs, degree]."""
    parameters = plan.parameters
    assert parameters.plain_modulus is not None
    there = np.zeros(parameters.degree, dtype=np.int64)
    there[:rows] = 1
    return slots.scaled(slots.to_coefficients(there, plain_modulus=parameters.plain_modulus), parameters)


def _masks(random: SecureRandom, count: int, degree: int, plain_modulus: int) -> slots.Integers:
    """Numbers modulo the plain modulus, [count, degree]: uniform, but for the sum of each row, which is 0."""
    found = uniform(random, count * degree, plain_modulus).reshape(count, degree)
    found[:, 0] = -found[:, 1:].sum(axis=1) % plain_modulus
    return found


def _switched(ciphertexts: Residues, moduli: tuple[int, ...], limbs: int) -> Residues:
    for left in range(len(moduli), limbs, -1):
        ciphertexts = divide_by_last(ciphertexts, moduli=moduli[:left], form="coefficients")
    return ciphertexts
