"""Networks on ciphertexts, with SEAL to encrypt and decrypt."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from wardline.core import SecureRandom
from wardline.he.compiler.convolution import convolve
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import subtract
from wardline.he.kernels.sums import weighted_sums
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.torch_backend import TorchBackend
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.evaluation import replies, unsafe_replies
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.network.rows import decrypt_outputs, encrypt_rows, unsafe_raw_outputs
from wardline.he.network.tiling import period


@pytest.mark.parametrize(
    ("seed", "inputs", "hidden", "squares"),
    [(1, 2, 4, 1), (2, 4, 3, 2), (3, 3, 1, 0), (4, 3, 4, 1), (5, 2, 4, 2), (6, 2, 40, 2)],
)
def test_outputs_are_as_near_as_predicted(
    program, rows, client, seed: int, inputs: int, hidden: int, squares: int
) -> None:
    model, sample = program(seed, inputs=inputs, hidden=hidden, squares=squares), rows(seed, inputs)
    plan, secret = unsafe_plan_unprotected_network(model, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    found = unsafe_replies(columns, keys, plan=plan, secret=secret)
    noise = unsafe_raw_outputs(lattice, plan, [found], rows=len(sample)) - secret.simulate(sample, plan)
    spread = np.sqrt((noise**2).mean(axis=0)).max()
    # The noise of 300 slots is estimated within a third; the prediction takes the noisiest output, and some margin.
    assert plan.layers[-1].error / 12 <= spread <= 1.33 * plan.layers[-1].error
    assert np.abs(noise).max() <= plan.layers[-1].bound
    off = decrypt_outputs(lattice, plan, [found], rows=len(sample)) - model.evaluate(sample)
    assert np.sqrt((off**2).mean()) <= 1.33 * plan.error
    assert np.abs(off).max() <= plan.worst


@pytest.mark.parametrize(
    ("seed", "degrees"), [(31, (3,)), (32, (4,)), (33, (2, 4)), (34, (4, 2)), (35, (3, 4)), (36, (4, 3))]
)
def test_higher_degrees_are_as_near_as_predicted(program, rows, client, seed: int, degrees: tuple[int, ...]) -> None:
    model, sample = program(seed, degrees=degrees), rows(seed, 3)
    plan, secret = unsafe_plan_unprotected_network(model, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    found = unsafe_replies(columns, keys, plan=plan, secret=secret)
    noise = unsafe_raw_outputs(lattice, plan, [found], rows=len(sample)) - secret.simulate(sample, plan)
    spread = np.sqrt((noise**2).mean(axis=0)).max()
    assert plan.layers[-1].error / 12 <= spread <= 1.33 * plan.layers[-1].error
    assert np.abs(noise).max() <= plan.layers[-1].bound
    off = decrypt_outputs(lattice, plan, [found], rows=len(sample)) - model.evaluate(sample)
    assert np.sqrt((off**2).mean()) <= 1.33 * plan.error
    assert np.abs(off).max() <= plan.worst
    for changed in (
        unsafe_replies(columns, keys, plan=plan, secret=secret, threads=3),
        unsafe_replies(columns, keys, plan=plan, secret=secret, threads=2, backend=TorchBackend("cpu")),
    ):
        for one, other in zip(found, changed, strict=True):
            np.testing.assert_array_equal(one.parts, other.parts)


@pytest.mark.parametrize("choose", [plan_network, unsafe_plan_unprotected_network])
def test_outputs_of_any_size_can_be_decrypted(program, rows, client, choose) -> None:
    sample = rows(39, 3)
    for size in (1e-6, 0.03, 1e5):
        model = program(39, squares=0)
        dense = model.layers[0]
        model = replace(model, layers=(replace(dense, weights=dense.weights * size, offset=dense.offset * size),))
        plan, secret = choose(model, sample)
        lattice, keys = client(plan.parameters)
        (columns,) = encrypt_rows(lattice, plan, sample)
        found = unsafe_replies(columns, keys, plan=plan, secret=secret)
        if plan.flood_bits is not None:
            found = replies(columns, keys, plan=plan, secret=secret)
        off = decrypt_outputs(lattice, plan, [found], rows=len(sample)) - model.evaluate(sample)
        assert np.sqrt((off**2).mean()) <= 1.33 * plan.error


def test_a_protected_network_of_uneven_degrees(program, rows, client) -> None:
    """What is flooded stays below the planned noise, and the outputs are as near as promised."""
    model, sample = program(37, degrees=(4, 2)), rows(37, 3)
    plan, secret = plan_network(model, sample)
    lattice, keys = client(plan.parameters)
    (columns,), (again,) = (encrypt_rows(lattice, plan, sample) for _ in range(2))
    found = replies(columns, keys, plan=plan, secret=secret, random=SecureRandom(), threads=2)
    off = decrypt_outputs(lattice, plan, [found], rows=len(sample)) - model.evaluate(sample)
    assert np.sqrt((off**2).mean()) <= 1.33 * plan.error
    assert np.abs(off).max() <= plan.worst
    last = plan.layers[-1]
    moduli = plan.parameters.moduli[: last.left]
    bare = [unsafe_replies(one, keys, plan=plan, secret=secret) for one in (columns, again)]
    differences = [
        replace(one, parts=subtract(one.parts, other.parts, moduli=moduli)) for one, other in zip(*bare, strict=True)
    ]
    noise = np.abs(lattice.decrypt_polynomials(differences)).max() * last.scale
    assert noise / math.sqrt(2) <= 2.0 ** (plan.flood_bits - FLOOD_BITS)


@pytest.fixture(scope="module")
def protected(program, rows, client):
    model, sample = program(11), rows(11, 3)
    plan, secret = plan_network(model, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    return model, sample, plan, secret, lattice, keys, columns


def test_protected_outputs_are_as_near_as_predicted(protected) -> None:
    model, sample, plan, secret, lattice, keys, columns = protected
    found = replies(columns, keys, plan=plan, secret=secret)
    assert {one.limbs for one in found} == {plan.reply_limbs}
    outputs = decrypt_outputs(lattice, plan, [found], rows=len(sample))
    off = outputs - model.evaluate(sample)
    assert np.sqrt((off**2).mean()) <= 1.33 * plan.error
    assert np.abs(off).max() <= plan.worst
    np.testing.assert_array_equal(outputs, np.rint(outputs / plan.step) * plan.step)


def test_the_noise_that_is_covered_is_below_the_planned_one(protected) -> None:
    """Two encryptions of the same rows: what their bare replies differ by is noise alone, exact to the last bit."""
    _, sample, plan, secret, lattice, keys, columns = protected
    (again,) = encrypt_rows(lattice, plan, sample)
    moduli = plan.parameters.moduli[: plan.layers[-1].limbs - plan.layers[-1].dropped]
    differences = []
    for one, other in zip(
        unsafe_replies(columns, keys, plan=plan, secret=secret),
        unsafe_replies(again, keys, plan=plan, secret=secret),
        strict=True,
    ):
        differences.append(replace(one, parts=subtract(one.parts, other.parts, moduli=moduli)))
    noise = lattice.decrypt_polynomials(differences) * plan.layers[-1].scale
    covered = 2.0 ** (plan.flood_bits - FLOOD_BITS)
    assert np.abs(noise).max() / math.sqrt(2) <= covered
    assert np.abs(noise).max() >= covered / 2**12  # the plan is careful, not wasteful


def test_replies_are_flooded(protected) -> None:
    """Of 8,000 slots the noise is as large as planned: 8 % off has a probability below 1e-6, a bare reply 2^30 less."""
    _, sample, plan, secret, lattice, keys, columns = protected
    exact = secret.simulate(sample, plan)
    alone = 2.0**plan.flood_bits / plan.layers[-1].scale * math.sqrt(plan.parameters.degree / 6)
    planned = alone * math.sqrt(2 * period(len(sample)) / plan.rows)  # what repetitions leave of it
    raw = [
        unsafe_raw_outputs(lattice, plan, [replies(columns, keys, plan=plan, secret=secret)], rows=len(sample)) - exact
        for _ in range(14)
    ]
    assert 0.92 * planned <= np.std(raw) <= 1.2 * planned  # dropping limbs adds up to a seventh
    bare = unsafe_replies(columns, keys, plan=plan, secret=secret)
    assert np.std(unsafe_raw_outputs(lattice, plan, [bare], rows=len(sample)) - exact) < 2.0**-30 * planned


def test_two_replies_to_one_request_share_nothing(protected) -> None:
    _, _, plan, secret, _, keys, columns = protected
    one, other = (replies(columns, keys, plan=plan, secret=secret) for _ in range(2))
    for left, right in zip(one, other, strict=True):
        # Residues agree by chance once in a prime: ten of them in two replies, less than once in 10^20.
        assert (left.parts == right.parts).sum() < 10
    bare = [unsafe_replies(columns, keys, plan=plan, secret=secret) for _ in range(2)]
    for left, right in zip(*bare, strict=True):
        np.testing.assert_array_equal(left.parts, right.parts)


def test_guessed_weights_are_confirmed_by_bare_replies_alone(program, rows, client) -> None:
    """The second part of a bare linear reply is a function of weights and seeds that a client can compute itself."""
    model, sample = program(12, squares=0), rows(12, 3)
    plan, secret = plan_network(model, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    (layer,), moduli = plan.layers, plan.parameters.moduli

    def guess(weights: np.ndarray, limbs: int) -> np.ndarray:
        found = weighted_sums(expand(columns.seeds, plan.parameters)[:, None], weights, moduli=moduli)
        for left in range(len(moduli), limbs, -1):
            found = divide_by_last(found, moduli=moduli[:left], form="evaluations")
        return found[:, 0]

    right = secret.layers[0].weights
    wrong = right + np.eye(len(right), right.shape[1], dtype=np.int64)
    bare = np.stack([one.parts[1] for one in unsafe_replies(columns, keys, plan=plan, secret=secret)])
    sent = np.stack([one.parts[1] for one in replies(columns, keys, plan=plan, secret=secret)])
    assert (guess(right, layer.limbs - layer.dropped) == bare).all()
    assert (guess(wrong, layer.limbs - layer.dropped)[:2] == bare[:2]).mean() < 1e-3
    assert (guess(right, plan.reply_limbs) == sent).mean() < 1e-3


def test_threads_change_nothing(protected) -> None:
    _, _, plan, secret, _, keys, columns = protected
    one = unsafe_replies(columns, keys, plan=plan, secret=secret)
    three = unsafe_replies(columns, keys, plan=plan, secret=secret, threads=3)
    for left, right in zip(one, three, strict=True):
        np.testing.assert_array_equal(left.parts, right.parts)


def test_a_convolution_is_computed_within_the_stated_memory(client) -> None:
    generator = np.random.default_rng(13)
    image = convolve(generator.normal(size=(4, 1, 4, 4)) / 4, None, input_shape=(1, 13, 13), stride=(3, 3))
    dense = Affine(weights=generator.normal(size=(3, image.outputs)) / 8, offset=generator.normal(size=3))
    square = Polynomial(coefficients=(0.0, 0.0, 1.0), units=image.outputs, interval=(-4.0, 4.0))
    model = Program(input_shape=(1, 13, 13), layers=(image, square, dense), meaning=Meaning(gives="values"))
    sample = generator.random((40, 169))
    plan, secret = unsafe_plan_unprotected_network(model, sample, error=0.02)
    assert plan.layers[0].live < 169  # not all seeds are expanded at once
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    unsafe_replies(columns, keys, plan=plan, secret=secret)  # tables that stay are made here
    tracemalloc.start()
    found = unsafe_replies(columns, keys, plan=plan, secret=secret)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.memory_bytes() / 4 < peak <= plan.memory_bytes()
    off = decrypt_outputs(lattice, plan, [found], rows=len(sample)) - model.evaluate(sample)
    assert np.sqrt((off**2).mean()) <= 1.33 * plan.error


def test_two_products_are_computed_within_the_stated_memory(program, rows, client) -> None:
    model, sample = program(38, hidden=9, degrees=(3, 4)), rows(38, 3)
    plan, secret = unsafe_plan_unprotected_network(model, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    unsafe_replies(columns, keys, plan=plan, secret=secret)
    tracemalloc.start()
    unsafe_replies(columns, keys, plan=plan, secret=secret)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.memory_bytes() / 8 < peak <= plan.memory_bytes()


def test_what_does_not_fit_is_refused(protected, program, rows) -> None:
    _, _, plan, secret, _, keys, columns = protected
    with pytest.raises(ValueError, match="reads 3 columns"):
        replies(replace(columns, c0=columns.c0[:2], seeds=columns.seeds[:2]), keys, plan=plan, secret=secret)
    with pytest.raises(ValueError, match="of one scale"):
        replies(replace(columns, scale=2.0), keys, plan=plan, secret=secret)
    with pytest.raises(ValueError, match="lack the one that relinearises"):
        replies(columns, replace(keys, relinearisation=None), plan=plan, secret=secret)
    with pytest.raises(ValueError, match="threads"):
        replies(columns, keys, plan=plan, secret=secret, threads=0)
    bare, hidden = unsafe_plan_unprotected_network(program(11), rows(11, 3))
    with pytest.raises(ValueError, match="no protection"):
        replies(columns, keys, plan=bare, secret=hidden)
    with pytest.raises(ValueError, match="other parameters"):
        unsafe_replies(columns, keys, plan=bare, secret=hidden)
