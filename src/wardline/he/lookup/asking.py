"""The client's half of a private lookup: an index into a question, and a reply into the record."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wardline.core.errors import UsageError
from wardline.he.ciphertext import Ciphertext, Residues, SeededColumns, SeededKeys
from wardline.he.kernels.modular import add
from wardline.he.lookup.plan import LookupPlan
from wardline.he.lookup.records import from_coefficients
from wardline.he.seal.lattice import Lattice


def lookup_keys(lattice: Lattice, plan: LookupPlan) -> SeededKeys:
    """Fresh public keys that the server needs to answer; they serve any number of questions.

    Raises:
        ValueError: for keys of other parameters.
    """
    _check(lattice, plan)
    return lattice.evaluation_keys(relinearisation=True, elements=plan.elements)


def ask_record(lattice: Lattice, plan: LookupPlan, index: int) -> SeededColumns:
    """A question for the record of an index: one ciphertext.

    Args:
        lattice: the client's keys, of the plan's parameters.
        plan: of the database.
        index: from 0.

    Raises:
        UsageError: for an index that the database has not.
        ValueError: for keys of other parameters.

    Guarantee: whoever does not know the secret key learns nothing of the index from any number of questions and the
    client's public keys, under the ring-LWE assumption for these parameters (128 bits), if encryptions of functions of
    the secret under itself are as good as others (circular security, which every such key rests on). It is known that
    somebody looked something up, and when. What the client does with the record, or whether it complains, may tell.
    """
    _check(lattice, plan)
    if not 0 <= index < plan.records:
        raise UsageError(f"the database has no record {index}", hint=f"indices go from 0 to {plan.records - 1}")
    zero = lattice.encrypt_coefficients(np.zeros((1, 1), dtype=np.int64))
    message = question_message(plan, index)
    return replace(zero, c0=add(zero.c0[0], message, moduli=plan.parameters.moduli)[None])


def question_message(plan: LookupPlan, index: int) -> Residues:
    """What a question encrypts, as residues [limbs, degree]: plaintext alone, put on an encryption of zero.

    The number of the row is Q / t times the power of X that brings the record's unit to the front; those of other rows
    are 0. Each bit of column and group stands once for each limb, as residues that are the bit there and 0 elsewhere.
    All of it is divided by 2^doublings, which the expansion multiplies by.
    """
    parameters = plan.parameters
    assert parameters.plain_modulus is not None
    polynomial, place = divmod(index, plan.places)
    column, row = divmod(polynomial, plan.rows)
    modulus = math.prod(parameters.moduli)
    unit = (2 * modulus + parameters.plain_modulus) // (2 * parameters.plain_modulus)
    limbs = len(parameters.moduli)
    moved, group = plan.start(place)[0], place % plan.groups
    bits = [column >> bit & 1 for bit in range(plan.column_bits)] + [group >> bit & 1 for bit in range(plan.group_bits)]
    message = np.zeros((limbs, parameters.degree), dtype=np.uint32)
    for limb, prime in enumerate(parameters.moduli):
        share = pow(1 << plan.doublings, -1, prime)
        # X^-moved is -X^(degree - moved).
        message[limb, (row - moved) % parameters.degree] = (-unit if moved else unit) * share % prime
        for number, bit in enumerate(bits):
            message[limb, plan.rows + number * limbs + limb] = bit * share
    return message


def read_record(lattice: Lattice, plan: LookupPlan, reply: Ciphertext) -> bytes:
    """The record in a reply.

    Raises:
        IntegrityError: if it decrypts to no record.
        ValueError: for a reply of other parameters, or more or fewer limbs than the plan's.

    Guarantee: none that it is the record that was asked for: a server can answer with whatever it likes, and nothing
    here notices. Compare it with something that you trust, and let the server not see whether you were content.
    """
    _check(lattice, plan)
    if reply.limbs != plan.reply_limbs or len(reply.parts) != 2:
        raise ValueError(f"a reply has two parts of {plan.reply_limbs} limbs")
    return from_coefficients(lattice.decrypt_coefficients([reply])[0], plan)


def _check(lattice: Lattice, plan: LookupPlan) -> None:
    if lattice.parameters != plan.parameters:
        raise ValueError("the keys were made for other parameters than the database's")
