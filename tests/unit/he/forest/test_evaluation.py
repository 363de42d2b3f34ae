"""Forests on ciphertexts, with SEAL to encrypt and decrypt."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tenseal")

from wardline.he.ciphertext import Ciphertext
from wardline.he.forest.choice import plan_forest
from wardline.he.forest.evaluation import replies, unsafe_replies
from wardline.he.forest.noise import FLOOD_BITS, TAIL, output_deviation
from wardline.he.forest.rows import decrypt_outputs, decrypt_steps, encrypt_rows
from wardline.he.forest.splits import root_of
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.switching import divide_by_last

ROOT = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("WARDLINE_DATA", ROOT / ".." / "shared" / "data"))


@pytest.mark.parametrize(
    ("seed", "trees", "depth", "features", "outputs"),
    [(1, 4, 1, 3, 2), (2, 12, 2, 3, 1), (3, 2, 4, 6, 2), (4, 1, 8, 9, 1)],
    ids=str,
)
def test_answers_are_exact_and_as_noisy_as_predicted(
    random_forest, rows, client, noise_budget, seed: int, trees: int, depth: int, features: int, outputs: int
) -> None:
    forest = random_forest(seed, trees=trees, depth=depth, features=features, outputs=outputs)
    sample = rows(seed, features, 300)
    plan, secret = plan_forest(forest, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    bare = unsafe_replies(columns, keys, plan=plan, secret=secret)
    exact = secret.steps(sample, plan)
    np.testing.assert_array_equal(decrypt_steps(lattice, plan, [bare], rows=len(sample)), exact)
    found = replies(columns, keys, plan=plan, secret=secret, rows=len(sample))
    np.testing.assert_array_equal(decrypt_steps(lattice, plan, [found], rows=len(sample)), exact)
    outputs_found = decrypt_outputs(lattice, plan, [found], rows=len(sample))
    np.testing.assert_array_equal(outputs_found, secret.simulate(sample, plan))
    assert np.abs(outputs_found - forest.evaluate(sample)).max() <= plan.worst * (1 + 1e-9)
    # SEAL measures the largest of some thousand coefficients, about four deviations; the plan counts with twelve.
    predicted = np.log2(float(np.prod([float(one) for one in plan.parameters.moduli])))
    predicted -= plan.noise_bits + np.log2(2 * plan.parameters.plain_modulus)
    measured = min(noise_budget(lattice, one) for one in bare)
    assert predicted - 1 <= measured <= predicted + 5


@pytest.fixture(scope="module")
def protected(random_forest, rows, client):
    forest, sample = random_forest(11, trees=3, depth=4, features=5), rows(11, 5, 40)
    plan, secret = plan_forest(forest, sample)
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, sample)
    return sample, plan, secret, lattice, keys, columns


def test_the_added_noise_is_forty_bits_above_what_tells_of_the_model(protected, noise_budget) -> None:
    _, plan, secret, lattice, keys, columns = protected
    moduli = plan.parameters.moduli
    (bare,) = unsafe_replies(columns, keys, plan=plan, secret=secret)
    parts = bare.parts
    for left in range(len(moduli), plan.flood_limbs, -1):
        parts = divide_by_last(parts, moduli=moduli[:left], form="coefficients")
    (hidden,) = replies(columns, keys, plan=replace(plan, reply_limbs=plan.flood_limbs), secret=secret)
    quiet, loud = noise_budget(lattice, replace(bare, parts=parts)), noise_budget(lattice, hidden)
    assert quiet - loud >= FLOOD_BITS
    assert loud >= 0


def test_slots_beyond_the_charged_rows_say_nothing(protected) -> None:
    """Random slots meet the right number with probability 1/t: six of 8,000 would, less than once in 10^7 runs."""
    sample, plan, secret, lattice, keys, columns = protected
    few, plain = 7, plan.parameters.plain_modulus
    # The client holds more rows than it pays for.
    exact = secret.steps(np.concatenate([sample, np.zeros((0, 5))]), plan)
    for charged, hides in ((few, True), (len(sample), False)):
        found = replies(columns, keys, plan=plan, secret=secret, rows=charged)
        steps = decrypt_steps(lattice, plan, [found], rows=plan.rows)
        np.testing.assert_array_equal(steps[:charged], exact[:charged])
        right = int((steps[few : len(sample)] == exact[few:]).sum())
        assert (right < 6) is hides
    rest = steps[len(sample) :].astype(np.float64) / plain
    # Uniform on [-1/2, 1/2): the mean and the variance of 8,152 draws, six deviations off; a constant is noticed.
    assert abs(rest.mean()) < 6 * np.sqrt(1 / 12 / len(rest))
    assert abs(rest.var() - 1 / 12) < 6 * np.sqrt(1 / 180 / len(rest))
    again = decrypt_steps(lattice, plan, [replies(columns, keys, plan=plan, secret=secret, rows=few)], rows=plan.rows)
    assert (again[few:] == steps[few:]).sum() < 60  # forty of them are the sample's, and were shown


def test_two_replies_to_one_request_share_nothing(protected) -> None:
    _, plan, secret, _, keys, columns = protected
    (one,), (other,) = (replies(columns, keys, plan=plan, secret=secret) for _ in range(2))
    # Residues agree by chance once in a prime: ten of them in two replies, less than once in 10^20.
    assert (one.parts == other.parts).sum() < 10
    (left,), (right,) = (unsafe_replies(columns, keys, plan=plan, secret=secret) for _ in range(2))
    np.testing.assert_array_equal(left.parts, right.parts)


def leaves_read_off(second: np.ndarray, seed_part: np.ndarray, prime: int) -> int | None:
    """What a bare stump's second part is a multiple of its bit's by: the difference of its leaves, in steps."""
    ratios = [
        int(a) * pow(int(b), -1, prime) % prime for a, b in zip(second[:50], seed_part[:50], strict=True) if int(b)
    ]
    found = max(set(ratios), key=ratios.count)
    if ratios.count(found) < len(ratios) / 2:
        return None
    return found - prime if found > prime // 2 else found


def test_a_bare_reply_gives_the_leaves_away_and_a_protected_one_does_not(random_forest, rows, client) -> None:
    """The client asks for one row, on one side of the split, and learns what the other side would have given."""
    forest = random_forest(12, trees=1, depth=1, features=1)
    plan, secret = plan_forest(forest, rows(12, 1))
    lattice, keys = client(plan.parameters)
    threshold = float(plan.thresholds.threshold[0])
    (columns,) = encrypt_rows(lattice, plan, np.array([[threshold - 1.0]]))
    prime, seed_part = plan.parameters.moduli[0], expand(columns.seeds, plan.parameters)[0, 0]
    (bare,) = unsafe_replies(columns, keys, plan=plan, secret=secret)
    shown, other = (int(secret.steps(np.array([[threshold + off]]), plan)[0, 0]) for off in (-1.0, 1.0))
    assert leaves_read_off(bare.parts[1, 0], seed_part, prime) == shown - other
    (sent,) = replies(columns, keys, plan=plan, secret=secret, rows=1)
    assert leaves_read_off(sent.parts[1, 0], seed_part, prime) is None
    # Nor is a right guess confirmed: the same second part, switched down as a reply is.
    moduli, parts = plan.parameters.moduli, bare.parts
    for left in range(len(moduli), plan.reply_limbs, -1):
        parts = divide_by_last(parts, moduli=moduli[:left], form="coefficients")
    assert (parts[1] == sent.parts[1]).mean() < 1e-3
    assert isinstance(sent, Ciphertext)


def test_threads_change_nothing_and_memory_is_bounded(protected) -> None:
    _, plan, secret, _, keys, columns = protected
    (one,) = unsafe_replies(columns, keys, plan=plan, secret=secret)
    (three,) = unsafe_replies(columns, keys, plan=plan, secret=secret, threads=3)
    np.testing.assert_array_equal(one.parts, three.parts)
    for threads in (1, 2):
        tracemalloc.start()
        replies(columns, keys, plan=plan, secret=secret, threads=threads)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert plan.memory_bytes(threads) / 5 < peak <= plan.memory_bytes(threads)


def test_noise_grows_with_levels_and_weights(random_forest) -> None:
    from wardline.he.forest.circuit import build
    from wardline.he.forest.integers import thresholds_of, to_integers

    found = []
    for depth in (1, 2, 4, 8):
        forest = random_forest(20, trees=2, depth=depth, features=20)
        thresholds = thresholds_of(forest)
        circuit = build(*to_integers(forest, thresholds, step=1e-3, centre=np.zeros(1)), thresholds.feature)
        found.append(np.log2(output_deviation(circuit, degree=8192, plain=147457)))
    levels = np.diff(found)
    # Each level multiplies by about t degree / 4: 28 bits here, a little more for sums and powers of the secret.
    assert (levels > 26).all()
    assert (levels < 35).all()
    assert TAIL > 9


def test_what_does_not_fit_is_refused(protected, random_forest, rows) -> None:
    _, plan, secret, _, keys, columns = protected
    with pytest.raises(ValueError, match="columns, whole ones"):
        replies(replace(columns, c0=columns.c0[:2], seeds=columns.seeds[:2]), keys, plan=plan, secret=secret)
    with pytest.raises(ValueError, match="columns, whole ones"):
        replies(replace(columns, dropped_bits=1), keys, plan=plan, secret=secret)
    with pytest.raises(ValueError, match="lack the one that relinearises"):
        replies(columns, replace(keys, relinearisation=None), plan=plan, secret=secret)
    for rows_asked in (0, plan.rows + 1):
        with pytest.raises(ValueError, match="rows must be"):
            replies(columns, keys, plan=plan, secret=secret, rows=rows_asked)
    with pytest.raises(ValueError, match="threads"):
        replies(columns, keys, plan=plan, secret=secret, threads=0)
    other, hidden = plan_forest(random_forest(13, depth=1), rows(13))
    with pytest.raises(ValueError, match="another plan"):
        replies(columns, keys, plan=plan, secret=hidden)
    with pytest.raises(ValueError, match="other parameters"):
        replies(columns, keys, plan=other, secret=hidden)


def test_a_secret_is_not_printed(protected) -> None:
    _, _, secret, _, _, _ = protected
    assert repr(secret) == "ForestWeights()"
    blocks = ", ".join(["Block()"] * len(secret.circuit.blocks))
    depth, bits = secret.circuit.depth, secret.circuit.bits
    assert repr(secret.circuit) == f"Circuit(bits={bits}, blocks=({blocks},), depth={depth})".replace("),)", "))")
    assert repr(secret.trees[0]) == "IntegerTree()"
    root = root_of(secret.trees[0], secret.bit_features)
    assert repr(root) == f"Node(height={root.height})"


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "credit_default").is_dir(), reason="no public data sets here: set WARDLINE_DATA")
def test_credit_default_is_decided_as_in_the_clear(client) -> None:
    polars = pytest.importorskip("polars")
    ensemble = pytest.importorskip("sklearn.ensemble")
    from wardline.he.forest.reading import read_forest

    table = polars.read_parquet(DATA / "credit_default" / "train.parquet")
    target = (table["DEFAULT_NEXT_MONTH"].cast(polars.Int64) > 0).to_numpy()
    x = table.drop("DEFAULT_NEXT_MONTH").select(polars.selectors.numeric()).to_numpy().astype(np.float64)
    train, held = slice(0, 4000), slice(20_000, 24_000)
    model = ensemble.GradientBoostingClassifier(n_estimators=20, max_depth=2, random_state=0).fit(
        x[train], target[train]
    )
    plan, secret = plan_forest(read_forest(model), x[train])
    lattice, keys = client(plan.parameters)
    (columns,) = encrypt_rows(lattice, plan, x[held])
    found = replies(columns, keys, plan=plan, secret=secret, rows=4000)
    np.testing.assert_array_equal(decrypt_steps(lattice, plan, [found], rows=4000), secret.steps(x[held], plan))
    outputs = decrypt_outputs(lattice, plan, [found], rows=4000)[:, 0]
    agreed = ((outputs > 0) == model.predict(x[held])).mean()
    assert agreed >= 0.999
    np.testing.assert_allclose(outputs, model.decision_function(x[held]), atol=plan.worst * (1 + 1e-9))
