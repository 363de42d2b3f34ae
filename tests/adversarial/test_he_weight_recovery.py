"""What an encrypted reply tells of the weights: everything where it is bare, nothing where it is hidden."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("tenseal")
pytest.importorskip("numba")

from wardline.attacks.extraction.encrypted_linear_replies import unsafe_phases
from wardline.attacks.extraction.encrypted_replies import from_masks, from_noise
from wardline.core import SecureRandom
from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add
from wardline.he.kernels.radix import integers, to_digits
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.linear.evaluation import scores, unsafe_sums
from wardline.he.linear.plan import LinearPlan, LinearWeights, plan_linear
from wardline.he.linear.rows import encrypt_rows, unsafe_raw_outputs
from wardline.he.seal.bridge import SealLattice

FEATURES = 20


@pytest.fixture(scope="module")
def model() -> tuple[LinearPlan, LinearWeights]:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(500, FEATURES))
    weights, bias = generator.normal(size=(1, FEATURES)), generator.normal(size=1)
    return plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)


@pytest.fixture(scope="module")
def lattice(model: tuple[LinearPlan, LinearWeights]) -> SealLattice:
    return SealLattice.generate(model[0].parameters)


@pytest.fixture(scope="module")
def sent(model: tuple[LinearPlan, LinearWeights], lattice: SealLattice) -> SeededColumns:
    # a single row: all other coefficients are zeros, in which nothing but noise comes back
    row = np.random.default_rng(1).normal(size=(1, FEATURES))
    return next(encrypt_rows(lattice, model[0], row))


def phases(lattice: SealLattice, parts: np.ndarray) -> np.ndarray:
    """c0 + c1 s of ciphertexts [count, 2, limbs, degree], centred, exactly: no double has 75 bits."""
    moduli = lattice.parameters.moduli[: parts.shape[2]]
    whole = math.prod(moduli)
    exact = integers(to_digits(unsafe_phases(lattice, parts), moduli=moduli), moduli=moduli)
    return np.where(exact > whole // 2, exact - whole, exact)


def test_a_bare_reply_gives_every_weight_away_and_a_hidden_one_none(
    model: tuple[LinearPlan, LinearWeights], lattice: SealLattice, sent: SeededColumns
) -> None:
    plan, secret = model
    prime = plan.parameters.moduli[0]
    masks = expand(sent.seeds, plan.parameters)[:, 0]
    bare = from_masks(masks, unsafe_sums(sent, plan=plan, secret=secret)[0, 1, 0], prime=prime)
    assert bare.consistent
    assert np.array_equal(bare.weights, secret.weights[0])
    public = lattice.evaluation_keys().public
    for _ in range(5):
        (reply,) = scores(sent, public, plan=plan, secret=secret)
        hidden = from_masks(masks, reply.parts[1, 0], prime=prime)
        assert not hidden.consistent
        assert not np.array_equal(hidden.weights, secret.weights[0])


def test_a_fresh_mask_alone_leaves_the_weights_in_the_noise_and_flooding_takes_them_out(
    model: tuple[LinearPlan, LinearWeights], lattice: SealLattice, sent: SeededColumns
) -> None:
    plan, secret = model
    moduli = plan.parameters.moduli
    columns = np.stack([sent.c0, expand(sent.seeds, plan.parameters)], axis=1)
    errors = phases(lattice, columns)[:, 1:].astype(np.float64)  # without the one coefficient that holds a message
    assert np.abs(errors).max() <= 22
    public = lattice.evaluation_keys().public
    zero = encryptions_of_zero(SecureRandom(), public, count=1, moduli=moduli, form="coefficients")
    masked = add(unsafe_sums(sent, plan=plan, secret=secret), zero, moduli=moduli)
    assert not from_masks(columns[:, 1, 0], masked[0, 1, 0], prime=moduli[0]).consistent
    bias = round(Fraction(int(secret.bias[0]) * math.prod(moduli), plan.parameters.plain_modulus))
    found = from_noise(errors, (phases(lattice, masked)[0, 1:] - bias).astype(np.float64))
    # The mask's own noise is of the weights' size: the estimate is off by little, and rounds to most of them.
    near = np.abs(found.weights - secret.weights[0])
    assert near.max() <= 8
    assert np.corrcoef(found.weights, secret.weights[0])[0, 1] > 0.99
    (reply,) = scores(sent, public, plan=plan, secret=secret)
    flooded = phases(lattice, reply.parts[None])[0, 1:] * math.prod(moduli[1:]) - bias
    drowned = from_noise(errors, flooded.astype(np.float64))
    assert not drowned.consistent
    assert np.abs(drowned.weights - secret.weights[0]).max() > 1e6


def test_two_replies_to_the_same_request_share_nothing(
    model: tuple[LinearPlan, LinearWeights], lattice: SealLattice, sent: SeededColumns
) -> None:
    plan, secret = model
    public = lattice.evaluation_keys().public
    first, second = (scores(sent, public, plan=plan, secret=secret)[0] for _ in range(2))
    # With 33,538,049 residues about one of 8,192 is equal by chance; more than ten have a chance below 1e-20.
    assert int((first.parts == second.parts).sum()) <= 10
    assert isinstance(first, Ciphertext)
    raw = [unsafe_raw_outputs(lattice, plan, [[one]], rows=1) for one in (first, second)]
    assert np.abs(raw[0] - raw[1]).max() <= 2 * plan.worst
