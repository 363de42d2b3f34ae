"""Certificates against poison: every small change of a tiny training set is tried, and none does what it must not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from wardline.attacks.backdoors.poisons import Stamped
from wardline.core import Seeds
from wardline.models import Logistic
from wardline.models.learner import NetworkLearner
from wardline.robust.sanitise.partitions import (
    Certified,
    certified_accuracy,
    certified_sizes,
    partition_of,
    train_partitions,
)

CLASSES, PARTS = 3, 5
QUESTIONS = np.array([[0.1, 0.1], [0.9, 0.2], [0.4, 0.8], [0.5, 0.5]], dtype=np.float32)


class Nearest:
    """Says what the nearest training row says."""

    classes = CLASSES
    gives = "labels"

    def __init__(self, x, y):
        self.x, self.y = x, y

    def answer(self, x):
        return self.y[((x[:, None] - self.x[None]) ** 2).sum(axis=2).argmin(axis=1)]


def _nearest(x, y, *, seeds):
    return Nearest(x, y)


def _train(x, y, parts=PARTS, learner=_nearest, classes=CLASSES):
    return train_partitions(learner, x, y, parts=parts, classes=classes, seeds=Seeds(0))


def _tiny() -> tuple[np.ndarray, np.ndarray]:
    generator = Seeds(4).numpy("tiny")
    centres = np.array([[0.1, 0.1], [0.9, 0.2], [0.4, 0.9]])
    y = np.arange(15, dtype=np.int64) % CLASSES
    return (centres[y] + 0.1 * generator.normal(size=(15, 2))).astype(np.float32), y


def _changes(x, y):
    """Every single change: each row removed, each label changed, and 36 rows inserted, as functions of a data set."""
    kept = [("remove", row) for row in range(len(y))]
    flips = [("flip", row, label) for row in range(len(y)) for label in range(CLASSES) if label != y[row]]
    points = [(a, b) for a in (0.1, 0.45, 0.9) for b in (0.1, 0.5, 0.8, 0.95)]
    return kept + flips + [("insert", point, label) for point in points for label in range(CLASSES)]


def _apply(x, y, changes):
    y, gone = y.copy(), []
    for change in changes:
        if change[0] == "remove":
            gone.append(change[1])
        elif change[0] == "flip":
            y[change[1]] = change[2]
    x, y = np.delete(x, gone, axis=0), np.delete(y, gone)
    for change in changes:
        if change[0] == "insert":
            x, y = np.vstack([x, np.array([change[1]], dtype=np.float32)]), np.append(y, change[2])
    return x, y.astype(np.int64)


def test_no_prediction_changes_within_its_certificate_and_some_do_beyond():
    x, y = _tiny()
    before = _train(x, y).certify(QUESTIONS)
    assert set(before.sizes) >= {0, 1, 2}  # the test says something about each
    beyond = {0: 0, 1: 0}
    singles = _changes(x, y)
    for changes in itertools.chain(((one,) for one in singles), itertools.combinations(singles, 2)):
        if len(changes) == 2 and changes[0][:2] == changes[1][:2] and changes[0][0] != "insert":
            continue  # the same row twice
        after = _train(*_apply(x, y, changes)).answer(QUESTIONS)
        turned = after != before.labels
        assert not turned[before.sizes >= len(changes)].any(), changes
        for size in (0, 1):
            if len(changes) == size + 1:
                beyond[size] += int(turned[before.sizes == size].any())
    assert beyond[0] > 0
    assert beyond[1] > 0


def test_adapted_one_change_more_than_certified_in_the_right_parts_turns_the_prediction():
    """An attacker who knows the hash puts one row into each of so many parts that voted for the winner."""
    x, y = _tiny()
    before = _train(x, y).certify(QUESTIONS)
    for row, question in enumerate(QUESTIONS):
        winner, size = before.labels[row], int(before.sizes[row])
        votes = before.votes[row].copy()
        votes[winner] = -1
        rival = int(votes.argmax())
        voted = [part for part, model in enumerate(_train(x, y).parts) if model.answer(question[None])[0] == winner]
        inserted, generator = [], np.random.default_rng(row)
        for part in voted[: size + 1]:
            point = question
            while partition_of(point[None], PARTS)[0] != part:
                point = (question + 1e-4 * generator.normal(size=2)).astype(np.float32)
            inserted.append(point)
        poisoned_x = np.vstack([x, *[point[None] for point in inserted]])
        poisoned_y = np.append(y, [rival] * len(inserted)).astype(np.int64)
        assert len(inserted) == size + 1
        assert _train(poisoned_x, poisoned_y).answer(question[None])[0] != winner
        assert _train(poisoned_x[:-1], poisoned_y[:-1]).answer(question[None])[0] == winner


def test_a_row_whose_inputs_change_counts_as_two():
    x, y = _tiny()
    before = _train(x, y).certify(QUESTIONS)
    generator, turned_ones = np.random.default_rng(0), 0
    for _ in range(300):
        row, changed, labels = int(generator.integers(len(y))), x.copy(), y.copy()
        changed[row], labels[row] = generator.uniform(size=2), generator.integers(CLASSES)
        turned = _train(changed, labels).answer(QUESTIONS) != before.labels
        assert not turned[before.sizes >= 2].any()
        turned_ones += int(turned[before.sizes < 2].any())
    assert turned_ones > 0


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_sizes_are_exact_for_every_vote_of_seven(classes):
    votes = np.array([v for v in itertools.product(range(8), repeat=classes) if sum(v) == 7])
    winners, sizes = certified_sizes(votes)
    index = {tuple(vote): row for row, vote in enumerate(votes.tolist())}
    moves = [(a, b) for a in range(classes) for b in range(classes) if a != b]

    def within(vote, changes):
        reached = {tuple(vote)}
        for _ in range(changes):
            reached |= {
                tuple(v - (i == a) + (i == b) for i, v in enumerate(one)) for one in reached for a, b in moves if one[a]
            }
        return {winners[index[one]] for one in reached}

    for vote, winner, size in zip(votes.tolist(), winners, sizes, strict=True):
        assert within(vote, size) == {winner}
        assert within(vote, size + 1) != {winner}


def test_ties_go_to_the_smaller_class():
    winners, sizes = certified_sizes(np.array([[2, 2, 0], [0, 2, 2], [1, 3, 0], [3, 1, 0], [2, 5, 0]]))
    assert winners.tolist() == [0, 1, 1, 0, 1]
    assert sizes.tolist() == [0, 0, 0, 1, 1]


def test_the_order_of_rows_and_repeated_training_make_no_difference(digits):
    learner = NetworkLearner(architecture=Logistic(inputs=64, classes=10), epochs=3, learning_rate=0.05)
    order = np.random.default_rng(0).permutation(400)
    first = _train(digits.x[:400], digits.y[:400], 20, learner, 10)
    again = _train(digits.x[:400][order], digits.y[:400][order], 20, learner, 10)
    for one, other in zip(first.parts, again.parts, strict=True):
        np.testing.assert_array_equal(one.answer(digits.test.x), other.answer(digits.test.x))


def test_a_change_reaches_one_part_alone(digits):
    learner = NetworkLearner(architecture=Logistic(inputs=64, classes=10), epochs=3, learning_rate=0.05)
    x, y = digits.x[:400], digits.y[:400]
    before = _train(x, y, 20, learner, 10)
    y = y.copy()
    y[7] = (y[7] + 1) % 10
    touched = partition_of(x[7:8], 20)[0]
    after = _train(x, y, 20, learner, 10)
    for part, (one, other) in enumerate(zip(before.parts, after.parts, strict=True)):
        same = np.array_equal(one.answer(digits.test.x), other.answer(digits.test.x))
        assert same == (part != touched)


def test_poison_within_the_certificates_leaves_certified_predictions_and_a_backdoor_fails(digits):
    """The undefended twin falls for the same poison."""
    learner = NetworkLearner(architecture=Logistic(inputs=64, classes=10), epochs=10, batch=16, learning_rate=0.05)
    poison = Stamped(share=0.03)
    poisoned = poison.poison(digits.x, digits.y, seeds=Seeds(3))
    trials = poison.trials(digits.test)
    undefended = _train(poisoned.x, poisoned.y, 1, learner, 10)
    clean, defended = (_train(*data, 50, learner, 10) for data in ((digits.x, digits.y), (poisoned.x, poisoned.y)))
    success = [float((model.answer(trials.x) == 0).mean()) for model in (undefended, defended)]
    assert success[0] > 0.5
    assert success[1] < 0.5 * success[0]
    certified = clean.certify(digits.test.x)
    # A patched row is one removed and one inserted; so many parts at most, and each has one vote.
    held = certified.sizes >= 10
    few = Stamped(share=0.005).poison(digits.x, digits.y, seeds=Seeds(3))
    assert len(few.rows) == 5
    assert held.mean() > 0.3
    after = _train(few.x, few.y, 50, learner, 10).answer(digits.test.x)
    np.testing.assert_array_equal(after[held], certified.labels[held])


def test_the_curve_falls_and_the_claim_states_one_of_its_points(digits):
    learner = NetworkLearner(architecture=Logistic(inputs=64, classes=10), epochs=10, batch=16, learning_rate=0.05)
    model = _train(digits.x, digits.y, 25, learner, 10)
    curve = certified_accuracy(model.certify(digits.test.x), digits.test.y, sizes=range(14))
    assert list(curve) == sorted(curve, reverse=True)
    assert curve[0] == (model.answer(digits.test.x) == digits.test.y).mean()
    assert curve[0] > 0.85
    assert curve[13] == 0  # 25 models cannot withstand 13 turned votes
    claim = model.claim(digits.test.x, digits.test.y, size=3)
    assert (claim.value, claim.direction, claim.parameters["poisoned_rows"]) == (curve[3], "at_least", 3)


def test_empty_parts_and_parts_of_one_label_vote_all_the_same():
    x, y = _tiny()
    model = _train(x[:4], y[:4], parts=50)
    certified = model.certify(QUESTIONS)
    assert (certified.votes.sum(axis=1) == 50).all()
    assert (certified.labels == 0).all()
    assert (_train(x[:0], y[:0]).answer(QUESTIONS) == 0).all()


def test_a_part_that_gives_no_number_does_not_vote():
    class Silent(Nearest):
        def answer(self, x):
            return np.full(len(x), -1)

    x, y = _tiny()
    certified = _train(x, y, parts=1, learner=lambda x, y, *, seeds: Silent(x, y)).certify(QUESTIONS)
    assert certified.votes.sum() == 0
    assert certified.sizes.tolist() == [0] * 4


def test_partitions_depend_on_content_alone():
    x = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 3.0]], dtype=np.float32)
    where = partition_of(x, 1000)
    assert where[0] == where[1]
    assert partition_of(x[::-1].copy(), 1000).tolist() == where[::-1].tolist()
    assert partition_of(x.astype(np.float64), 1000).tolist() == where.tolist()
    spread = np.bincount(partition_of(np.arange(5000, dtype=np.float32)[:, None], 10), minlength=10)
    assert spread.min() > 350  # 500 expected; Binomial(5000, 0.1) falls below 350 with a probability below 1e-11
    texts = np.array(["a", "b", "a"], dtype=object)
    assert partition_of(texts, 1000)[0] == partition_of(texts, 1000)[2]


def test_arguments_out_of_range_are_refused():
    x, y = _tiny()
    with pytest.raises(ValueError, match="as many labels"):
        _train(x, y[:-1])
    with pytest.raises(ValueError, match="from 0 to 2"):
        _train(x, y + 1)
    with pytest.raises(ValueError, match="parts"):
        _train(x, y, parts=0)
    with pytest.raises(ValueError, match="size"):
        _train(x, y).claim(QUESTIONS, np.zeros(4, dtype=np.int64), size=-1)
    empty = Certified(labels=np.zeros(2, int), sizes=np.array([0, 1]), votes=np.zeros((2, 2), int))
    assert certified_accuracy(empty, np.array([0, 0]), sizes=[0, 1, 2]) == (1.0, 0.5, 0.0)
