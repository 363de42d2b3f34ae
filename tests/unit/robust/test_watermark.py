"""Watermarks: a marked model is recognised, an independent one never, and what removes the mark."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from wardline.core import Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.marked_answers import MarkedAnswers
from wardline.robust.watermark import make_watermark, noise_inputs, verify_watermark, with_watermark

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


class Constant:
    """Always the same class: the worst that an independent model can be."""

    gives = "labels"

    def __init__(self, classes, label=0):
        self.classes, self.label = classes, label

    def answer(self, x):
        return np.full(len(x), self.label, dtype=np.int64)


class Bits:
    """Labels by the input's own bits: jagged, and independent of any key."""

    classes, gives = 4, "labels"

    def answer(self, x):
        return np.abs(x.reshape(len(x), -1) * 1000).sum(axis=1).astype(np.int64) % 4


@pytest.fixture(scope="module")
def examples():
    x, y = load_digits(return_X_y=True)
    names, classes = tuple(f"p{i}" for i in range(64)), tuple(map(str, range(10)))
    return Examples(
        x=(x / 16).astype(np.float32),
        y=y.astype(np.int64),
        unit=np.arange(len(x)),
        features=names,
        classes=classes,
    )


def trained(examples, *, seed=0, epochs=15, width=64):
    config = PlainConfig(batch=64, epochs=epochs, learning_rate=5e-3)
    return train_plain(Mlp(inputs=64, hidden=(width,), classes=10), examples, config=config, seeds=Seeds(seed))


@pytest.fixture(scope="module")
def mark():
    return make_watermark(KEY, noise_inputs(KEY, (64,), count=40), classes=10)


@pytest.fixture(scope="module")
def marked(examples, mark):
    return trained(with_watermark(examples.take(np.arange(1000)), mark, repeats=8))


def owned(module_or_model, mark):
    predictor = (
        TorchPredictor(module_or_model, classes=10)
        if isinstance(module_or_model, torch.nn.Module)
        else TorchPredictor.of(module_or_model)
    )
    return verify_watermark(predictor, KEY, mark.x, commitment=mark.commitment)


def accuracy(model, examples):
    return float((model.predict(examples.x[1000:]) == examples.y[1000:]).mean())


def test_a_marked_model_is_recognised_and_its_twin_is_not(examples, mark, marked):
    twin = trained(examples.take(np.arange(1000)))
    assert owned(marked, mark).proven
    assert owned(marked, mark).agreements >= 38
    assert not owned(twin, mark).proven
    assert owned(twin, mark).p_value > 1e-4
    assert accuracy(marked, examples) >= accuracy(twin, examples) - 0.03


@pytest.mark.parametrize("accused", [Constant(4), Constant(4, label=3), Bits()])
def test_false_claims_are_as_rare_as_promised_against_any_independent_model(accused):
    """2,000 keys against models made without them.

    Under the null a p-value is at most 0.01 with probability at most 0.01; more than 55 of 2,000 then have a
    probability below 1e-8 (binomial). And the test is not idle: one that only names the right classes has p = 4^-30.
    """
    inputs = np.random.default_rng(0).random((30, 5), dtype=np.float32)
    p_values = []
    for trial in range(2000):
        key = trial.to_bytes(32, "big")
        commitment = make_watermark(key, inputs, classes=4).commitment
        p_values.append(verify_watermark(accused, key, inputs, commitment=commitment).p_value)
    assert (np.array(p_values) <= 0.01).sum() <= 55
    # Nobody is favoured either: the median p-value of an exact discrete test lies a little above one half.
    assert 0.4 <= np.median(p_values) <= 0.75
    mark = make_watermark(KEY, inputs, classes=4)

    class Knows:
        classes, gives = 4, "labels"

        def answer(self, x):
            return mark.y

    known = verify_watermark(Knows(), KEY, inputs, commitment=mark.commitment)
    assert known.proven
    assert known.p_value == pytest.approx(4.0**-30)


def test_a_claim_that_was_forged_after_the_fact_is_refused(mark, marked):
    # Whoever may choose classes freely "finds" a watermark in every model. Classes follow from a key instead, and the
    # key from a commitment; grinding keys gives p-values of about one over their number.
    accused = TorchPredictor.of(marked)
    with pytest.raises(ValueError, match="committed"):
        verify_watermark(accused, OTHER, mark.x, commitment=mark.commitment)
    with pytest.raises(ValueError, match="committed"):
        verify_watermark(accused, KEY, mark.x[:-1], commitment=mark.commitment)
    inputs = np.random.default_rng(1).random((40, 64), dtype=np.float32)
    best = 1.0
    for trial in range(1000):
        key = trial.to_bytes(32, "little")
        ground = make_watermark(key, inputs, classes=10)
        best = min(best, verify_watermark(accused, key, inputs, commitment=ground.commitment).p_value)
    assert 1e-9 < best < 0.05


def test_few_steps_of_fine_tuning_leave_the_mark_and_an_informed_thief_removes_it(examples, mark, marked):
    clean, rng = examples.take(np.arange(1000, 1300)), torch.Generator().manual_seed(0)
    x, y = torch.from_numpy(clean.x), torch.from_numpy(clean.y)
    naive, informed = marked.module(), marked.module()
    for module, noisy in ((naive, False), (informed, True)):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2 if noisy else 2e-3)
        for _ in range(200 if noisy else 60):
            loss = functional.cross_entropy(module(x), y)
            if noisy:  # knows that the marks are noise: teaches other noise that nothing is to be said about it
                noise = torch.rand(300, 64, generator=rng)
                loss = loss - functional.log_softmax(module(noise), dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert owned(naive, mark).proven
    assert not owned(informed, mark).proven
    held = torch.from_numpy(examples.x[1300:])
    right = (informed(held).argmax(dim=1).numpy() == examples.y[1300:]).mean()
    assert right >= accuracy(marked, examples) - 0.04


def test_marked_answers_survive_a_copy_that_fits_them_all(examples, marked):
    model = TorchPredictor.of(marked)
    answers = MarkedAnswers(predictor=model, key=KEY, rate=0.05)
    asked = examples.x[:700]
    labels = answers.answer(asked)
    assert (answers.answer(asked) == labels).all()
    wrong = (labels != model.answer(asked).argmax(axis=1)).mean()
    assert 0.02 < wrong < 0.08
    assert answers.marks >= 20

    def copied(taught):
        pairs = Examples(x=asked, y=taught, unit=np.arange(700), features=examples.features, classes=examples.classes)
        return TorchPredictor.of(trained(pairs, epochs=200, width=128))

    assert answers.verify(copied(labels)).proven
    clean = answers.verify(copied(model.answer(asked).argmax(axis=1)))
    assert not clean.proven
    assert clean.p_value > 1e-4
    # The adapted thief asks twice, with a change that nobody sees, and leaves out what is contradicted.
    again = answers.answer((asked + np.float32(1e-6)).astype(np.float32))
    kept = np.flatnonzero(labels == again)
    pairs = Examples(
        x=asked[kept], y=labels[kept], unit=np.arange(len(kept)), features=examples.features, classes=examples.classes
    )
    assert not answers.verify(TorchPredictor.of(trained(pairs, epochs=200, width=128))).proven


def test_bad_arguments_are_refused_and_secrets_do_not_print(examples, mark):
    with pytest.raises(ValueError, match="32 bytes"):
        make_watermark(b"short", mark.x, classes=10)
    with pytest.raises(ValueError, match="classes"):
        make_watermark(KEY, mark.x, classes=1)
    with pytest.raises(ValueError, match="float32"):
        make_watermark(KEY, mark.x[:0], classes=10)
    with pytest.raises(ValueError, match="columns"):
        with_watermark(examples, make_watermark(KEY, mark.x[:, :5].copy(), classes=10))
    with pytest.raises(ValueError, match="no marked answer"):
        MarkedAnswers(predictor=Constant(4), key=KEY).verify(Constant(4))
    with pytest.raises(ValueError, match="rate"):
        MarkedAnswers(predictor=Constant(4), key=KEY, rate=1.0)
    assert KEY.hex() not in repr(mark)
    assert "\\x00" not in repr(MarkedAnswers(predictor=Constant(4), key=KEY))
