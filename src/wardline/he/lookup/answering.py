"""The server's half of a private lookup: every record is multiplied, one comes out, and it leaves as a fresh reply."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import Ciphertext, EvaluationKeys, Residues, SeededColumns, SeededKeys
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.gates import choose, expand_numbers, make_gates
from wardline.he.kernels.modular import add
from wardline.he.kernels.monomials import times_monomial
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.selection import selected_sums
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.lookup.database import Database
from wardline.he.lookup.plan import LEFT_OUT, LookupPlan


def answer_question(
    question: SeededColumns,
    keys: EvaluationKeys,
    *,
    database: Database,
    random: SecureRandom | None = None,
    threads: int = 1,
) -> Ciphertext:
    """The encrypted record that a question names, fit to leave the server.

    Args:
        question: from the client.
        keys: the client's.
        database: whose records are looked up.
        random: where noise comes from; None takes a fresh source that nobody can predict.
        threads: among which the work is shared out; the found record does not depend on it.

    Raises:
        IntegrityError: for a question or keys that are none of this database.

    Guarantee: to the server. For keys and questions that were made as `lookup_keys` and `ask_record` make them, the
    client learns the one record and nothing of the others: the coefficients of c0 in which others would stand are
    withheld (0), those of the record carry noise whose distribution is within 2^-40 a coefficient of one that depends
    on no record, and c1 is fresh. A client that makes questions otherwise gets as many bits as a record has, of a sum
    of records of its choice, and may learn more where its noise exceeds the flooding. How many lookups a client has is
    not counted here.
    To the client. What is computed, what is read and in which order depend on the sizes alone, never on the question:
    time tells nothing of the index.

    References: Angel et al. 2018 (SealPIR); Mughees, Chen, Ren 2021 (OnionPIR); Menon and Wu 2022 (Spiral); Gentry
    2009, section 8.4 (flooding).
    """
    plan = database.plan
    parameters, moduli = plan.parameters, plan.parameters.moduli
    found = unsafe_answer(question, keys, plan=plan, polynomials=database.polynomials, threads=threads)
    for left in range(len(moduli), plan.flood_limbs, -1):
        found = divide_by_last(found, moduli=moduli[:left], form="coefficients")
    kept = moduli[: plan.flood_limbs]
    source = SecureRandom() if random is None else random
    zero = encryptions_of_zero(source, keys.public, count=1, moduli=kept, form="coefficients")[0]
    hidden = add(found, zero, moduli=kept)
    noise = flooding(source, (parameters.degree,), bits=plan.flood_bits, moduli=kept)
    hidden[0] = add(np.ascontiguousarray(hidden[0]), noise, moduli=kept)
    for left in range(plan.flood_limbs, plan.reply_limbs, -1):
        hidden = divide_by_last(hidden, moduli=moduli[:left], form="coefficients")
    # Without its c0 a coefficient is a uniform number to the client: other records of the polynomial stay here.
    hidden[0, :, plan.coefficients :] = 0
    return Ciphertext(parameters=parameters, parts=hidden, form="coefficients")


def unsafe_answer(
    question: SeededColumns,
    keys: EvaluationKeys,
    *,
    plan: LookupPlan,
    polynomials: npt.NDArray[np.uint32],
    threads: int = 1,
) -> Residues:
    """The bare answer [2, limbs, degree]: a polynomial full of records, whose noise depends on all of them.

    Raises:
        IntegrityError: for a question or keys that are none of this plan.
    """
    parameters, moduli = plan.parameters, plan.parameters.moduli
    check_question(question, plan)
    _check_galois(keys, plan)
    assert keys.relinearisation is not None
    limbs = len(moduli)
    whole = np.stack([question.c0[0], expand(question.seeds, parameters)[0]])
    numbers = expand_numbers(
        whole, keys.galois, parameters, count=plan.numbers, doublings=plan.doublings, threads=threads
    )
    bits = numbers[plan.rows :].reshape(plan.bits, limbs, 2, limbs, parameters.degree)
    gates = make_gates(bits, keys.relinearisation, parameters, threads=threads)
    selectors = to_evaluations(numbers[: plan.rows], moduli=moduli)
    found = to_coefficients(selected_sums(selectors, polynomials, moduli=moduli, threads=threads), moduli=moduli)
    for gate in gates[: plan.column_bits]:
        # An odd one out is the column that the bit, being 0 for it, leaves as it is.
        pairs = len(found) // 2
        chosen = choose(found[: 2 * pairs : 2], found[1::2], gate, parameters, threads=threads)
        found = np.concatenate([chosen, found[2 * pairs :]])
    for bit, gate in enumerate(gates[plan.column_bits :]):
        moved = times_monomial(found, -(plan.coefficients << bit), moduli=moduli)
        found = choose(found, moved, gate, parameters, threads=threads)
    answer: Residues = found[0]
    return answer


def check_question(question: SeededColumns, plan: LookupPlan) -> None:
    """Refuse what is no question of this plan.

    Raises:
        IntegrityError: if it is none.
    """
    if question.parameters != plan.parameters or question.form != "coefficients" or len(question) != 1:
        raise IntegrityError("a question is one ciphertext by coefficients, of the database's parameters")
    if question.limbs != len(plan.parameters.moduli) or question.dropped_bits > LEFT_OUT:
        raise IntegrityError(f"a question has all limbs, and at most {LEFT_OUT} bits are left out of it")


def check_keys(keys: SeededKeys, plan: LookupPlan) -> None:
    """Refuse keys that this plan cannot be answered with.

    Raises:
        IntegrityError: if they are of other parameters, or not just those that are needed.
    """
    _check_galois(keys, plan)


def _check_galois(keys: SeededKeys | EvaluationKeys, plan: LookupPlan) -> None:
    if keys.parameters != plan.parameters:
        raise IntegrityError("the keys are of other parameters than the database's")
    if keys.relinearisation is None or tuple(sorted(keys.galois)) != plan.elements:
        raise IntegrityError("a lookup takes a relinearisation key and just the keys of its expansion")
