"""The server's half of a linear model: sums of encrypted columns, which leave it as fresh ciphertexts full of noise."""

from __future__ import annotations

import math

import numpy as np

from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, Residues, SeededColumns
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.sums import weighted_sums
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.linear.plan import LEFT_OUT, LinearPlan, LinearWeights


def scores(
    columns: SeededColumns,
    public_key: Residues,
    *,
    plan: LinearPlan,
    secret: LinearWeights,
    random: SecureRandom | None = None,
    threads: int = 1,
) -> tuple[Ciphertext, ...]:
    """Encrypted scores of the rows in these columns, one ciphertext an output, fit to leave the server.

    Args:
        columns: feature j of all rows in ciphertext j, from the client.
        public_key: the client's, [2, limbs, degree] in NTT form.
        plan: of the model.
        secret: the server's integers.
        random: where noise comes from; None takes a fresh source that nobody can predict.
        threads: among which the work is shared out; the sums do not depend on it.

    Raises:
        ValueError: for columns of other parameters, or another number of them.

    Guarantee: for keys and ciphertexts that were made as `SealLattice` makes them, the owner of the secret key learns
    the scores and their noise, whose distribution is within 2^-40 a coefficient of one that does not depend on the
    weights; the polynomial c1, from which an unprotected reply gives the weights away, cannot be told from uniform
    under the ring-LWE assumption. It does not protect against what scores say themselves: features + 1 of them, of
    rows of the client's choice, determine a linear model up to their rounding, so rows must be metered. A client that
    makes its public key dishonestly may learn the weights from one reply.

    References: Gentry 2009, section 8.4 (circuit privacy by flooding).
    """
    sums = unsafe_sums(columns, plan=plan, secret=secret, threads=threads)
    parameters, source = plan.parameters, SecureRandom() if random is None else random
    moduli = parameters.moduli
    zeros = encryptions_of_zero(source, public_key, count=plan.outputs, moduli=moduli, form="coefficients")
    hidden = add(sums, zeros, moduli=moduli)
    noise = flooding(source, (plan.outputs, parameters.degree), bits=plan.flood_bits, moduli=moduli)
    hidden[:, 0] = add(np.ascontiguousarray(hidden[:, 0]), noise, moduli=moduli)
    # One prime is left: what is dropped is a function of what was hidden, and tells no more than that.
    for left in range(len(moduli), 1, -1):
        hidden = divide_by_last(hidden, moduli=moduli[:left], form="coefficients")
    return tuple(Ciphertext(parameters=parameters, parts=one, form="coefficients") for one in hidden)


def unsafe_sums(columns: SeededColumns, *, plan: LinearPlan, secret: LinearWeights, threads: int = 1) -> Residues:
    """The bare sums with the bias, [outputs, 2, limbs, degree]: whoever sees one of them can read off the weights.

    It is what `scores` hides, and what the attack in `wardline.attacks.extraction.encrypted_replies` is tried on.

    Raises:
        ValueError: for columns of other parameters, another number of them, or with more bits left out than planned.
    """
    parameters = plan.parameters
    if columns.parameters != parameters or columns.form != "coefficients" or columns.limbs != len(parameters.moduli):
        raise ValueError("the columns were encrypted under other parameters than the model's")
    if len(columns) != plan.features or columns.dropped_bits > LEFT_OUT:
        raise ValueError(
            f"the model has {plan.features} features, a column each, with at most {LEFT_OUT} bits left out"
        )
    assert parameters.plain_modulus is not None
    moduli = parameters.moduli
    c1 = expand(columns.seeds, parameters, threads=threads)
    parts = [weighted_sums(part[:, None], secret.weights, moduli=moduli, threads=threads) for part in (columns.c0, c1)]
    sums = np.concatenate(parts, axis=1)
    # The bias is a message without noise: the multiple of Q / t that is nearest.
    modulus = math.prod(moduli)
    for output, bias in enumerate(secret.bias.tolist()):
        lifted = (2 * bias * modulus + parameters.plain_modulus) // (2 * parameters.plain_modulus)
        for limb, prime in enumerate(moduli):
            wide = sums[output, 0, limb].astype(np.uint64) + np.uint64(lifted % prime)
            sums[output, 0, limb] = wide % np.uint64(prime)
    return sums
