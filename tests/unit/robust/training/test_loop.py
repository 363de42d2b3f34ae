import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from wardline.core import DataError, Seeds, UsageError, canonical_json
from wardline.data import Examples
from wardline.models import Logistic, Mlp, one_thread
from wardline.models.architecture import Cnn, ResNet
from wardline.robust.ball import Ball
from wardline.robust.training.config import Augmentation, Checks, Fit, RobustConfig, Search, default_robust_config
from wardline.robust.training.loop import train_robust

MLP = Mlp(inputs=64, hidden=(64,), classes=10)
BALL = Ball(norm="linf", radius=0.15)
EPOCHS = 12


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def digits():
    images, classes = load_digits(return_X_y=True)
    examples = Examples(
        x=(images / 16).astype(np.float32),
        y=classes.astype(np.int64),
        unit=np.arange(len(images)),
        features=tuple(f"pixel{index}" for index in range(64)),
        classes=tuple("0123456789"),
    )
    return examples.take(np.arange(1400)), examples.take(np.arange(1400, len(images)))


def settings(method, *, ball=BALL, epochs=EPOCHS, **changes):
    config = default_robust_config(method, ball=ball, n_rows=1400, architecture=MLP)
    fit = dataclasses.replace(config.fit, batch=32, epochs=epochs)
    return dataclasses.replace(config, **{"fit": fit, **changes})


def withstood(model, data, *, ball=BALL, steps=40, restarts=2):
    """Accuracy under projected gradient ascent, written out here and sharing no code with the training."""
    network = model.module().requires_grad_(False)
    x, y = torch.from_numpy(data.x.copy()), torch.from_numpy(data.y)
    rng = torch.Generator().manual_seed(1)
    alive = network(x).argmax(1) == y
    for _ in range(restarts):
        point = (x + torch.empty_like(x).uniform_(-ball.radius, ball.radius, generator=rng)).clamp(0, 1)
        for _ in range(steps):
            point.requires_grad_()
            loss = torch.nn.functional.cross_entropy(network(point), y, reduction="sum")
            (slope,) = torch.autograd.grad(loss, point)
            point = point.detach() + slope.sign() * ball.radius / 8
            point = torch.minimum(torch.maximum(point, x - ball.radius), x + ball.radius).clamp(0, 1)
            alive &= network(point).argmax(1) == y
    return float(alive.float().mean())


@pytest.mark.parametrize("method", ["fgsm-rs", "pgd", "trades"])
def test_robust_training_withstands_what_breaks_its_plain_twin(digits, method):
    """397 images: a share that is .2 higher is 5 standard errors away, and a false alarm below 1e-6."""
    train, judge = digits
    plain, _ = train_robust(MLP, train, config=settings("plain"), seeds=Seeds(0))
    robust, _ = train_robust(MLP, train, config=settings(method), seeds=Seeds(0))
    assert (plain.predict(judge.x) == judge.y).mean() > 0.85
    assert withstood(plain, judge) < 0.35  # the attack breaks the undefended twin
    assert withstood(robust, judge) > withstood(plain, judge) + 0.2
    assert (robust.predict(judge.x) == judge.y).mean() > 0.75


@pytest.mark.parametrize(
    "architecture",
    [
        Cnn(shape=(1, 8, 8), channels=(8,), hidden=32, classes=10),
        ResNet(shape=(1, 8, 8), channels=(8, 16), blocks=(1, 1), classes=10),
    ],
)
def test_networks_of_convolutions_learn_to_withstand_too(digits, architecture):
    train, judge = digits
    small = Ball(norm="linf", radius=0.12)
    shares = []
    for method in ("plain", "trades"):
        model, _ = train_robust(architecture, train, config=settings(method, ball=small, epochs=8), seeds=Seeds(0))
        assert (model.predict(judge.x) == judge.y).mean() > 0.75
        shares.append(withstood(model, judge, ball=small, steps=20, restarts=1))
    assert shares[1] > shares[0] + 0.2


def test_changes_of_bounded_length_are_trained_against_as_well(digits):
    train, _ = digits
    ball = Ball(norm="l2", radius=1.0)
    found = []
    for method in ("plain", "pgd"):
        _, record = train_robust(MLP, train, config=settings(method, ball=ball), seeds=Seeds(0))
        look = record.looks[record.chosen]
        found.append(look.robust / look.rows)
    assert found[1] > found[0] + 0.15


def test_training_on_noise_withstands_noise(digits):
    """Five draws of noise for each of 397 images; the two models meet the same ones."""
    train, judge = digits
    architecture = ResNet(shape=(1, 8, 8), channels=(8, 16), blocks=(1, 1), classes=10)
    noise = np.random.default_rng(0).normal(0, 0.4, size=(5, *judge.x.shape)).astype(np.float32)
    shares = []
    for method in ("plain", "noise"):
        config = settings(method, ball=Ball(norm="l2", radius=0.4), epochs=10)
        model, _ = train_robust(architecture, train, config=config, seeds=Seeds(0))
        shares.append(np.mean([(model.predict(judge.x + one) == judge.y).mean() for one in noise]))
    assert shares[1] > shares[0] + 0.1


def test_a_single_step_without_a_random_start_overfits_and_the_guard_says_so(digits):
    """Wong et al. 2020, section 5.4: the model withstands the step it was trained on, and nothing else."""
    train, _ = digits
    ball = Ball(norm="linf", radius=0.3)
    architecture = Mlp(inputs=64, hidden=(256,), classes=10)
    changes = {
        "ball": ball,
        "search": Search(steps=1, step=0.6, random_start=False),
        "fit": Fit(batch=32, epochs=40, learning_rate=0.01, weight_decay=0.0),
    }
    config = dataclasses.replace(settings("fgsm-rs"), **changes)
    model, record = train_robust(architecture, train, config=config, seeds=Seeds(0))
    assert record.ending == "overfitting"
    assert "catastrophic overfitting" in str(record)
    last, chosen = record.looks[-1], record.looks[record.chosen]
    assert last.collapsed()
    assert not chosen.collapsed()
    assert record.chosen < len(record.looks) - 1
    held = np.sort(Seeds(0).numpy("robust.held").permutation(len(train))[: chosen.rows])
    assert chosen.clean == (model.predict(train.x[held]) == train.y[held]).sum()  # rolled back


def test_the_same_seeds_give_the_same_weights_and_others_do_not(digits):
    train, _ = digits
    config = settings("trades", epochs=2, augmentation=Augmentation(shape=(1, 8, 8), mirror=False, shift=1))
    first, second, other = (train_robust(MLP, train, config=config, seeds=Seeds(seed)) for seed in (0, 0, 1))
    for name, value in first[0].parameters.items():
        np.testing.assert_array_equal(second[0].parameters[name], value)
    assert first[1].looks == second[1].looks
    assert not np.array_equal(other[0].parameters["head.weight"], first[0].parameters["head.weight"])


def test_the_record_counts_on_rows_that_were_not_trained_on_and_is_plain_json(digits):
    train, _ = digits
    config = settings("pgd", epochs=3, checks=Checks(rows=100, each_epoch=2, steps=5))
    model, record = train_robust(MLP, train, config=config, seeds=Seeds(0))
    assert record.rows == 1300
    assert [look.epoch for look in record.looks] == pytest.approx([0.5, 1, 1.5, 2, 2.5, 3], abs=0.1)
    assert record.ending == "complete"
    held = np.sort(Seeds(0).numpy("robust.held").permutation(len(train))[:100])
    chosen = record.looks[record.chosen]
    assert chosen.clean == (model.predict(train.x[held]) == train.y[held]).sum()
    assert chosen.robust == max(look.robust for look in record.looks)
    assert json.loads(canonical_json(record.to_json()))["config"]["ball"]["radius"] == 0.15


def test_training_ends_when_nothing_gets_better(digits):
    train, _ = digits
    checks = Checks(rows=100, each_epoch=4, steps=2, patience=3)
    config = settings("plain", epochs=60, checks=checks)
    _, record = train_robust(MLP, train, config=config, seeds=Seeds(0))
    assert record.ending == "patience"
    assert len(record.looks) - 1 - record.chosen == 3
    assert record.looks[-1].epoch < 60


def test_half_precision_in_training_leaves_32_bit_weights_and_learns(digits):
    train, judge = digits
    config = settings("plain")
    config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, precision="bfloat16", average=0.9))
    model, _ = train_robust(MLP, train, config=config, seeds=Seeds(0))
    assert all(value.dtype == np.float32 for value in model.parameters.values())
    assert (model.predict(judge.x) == judge.y).mean() > 0.8


def test_progress_is_told_of_every_step(digits):
    train, _ = digits

    class Told:
        steps = 0

        def start(self, stage, total):
            self.stage, self.total = stage, total

        def advance(self, done, detail=""):
            assert done == self.steps + 1
            self.steps = done

        def finish(self, detail=""):
            self.detail = detail

    told = Told()
    train_robust(MLP, train, config=settings("plain", epochs=2), seeds=Seeds(0), progress=told)
    assert told.steps == told.total > 0
    assert "plain" in told.stage
    assert "robust" in told.detail


def test_what_does_not_fit_is_refused(digits):
    train, _ = digits
    wrong = Mlp(inputs=63, hidden=(4,), classes=10)
    with pytest.raises(ValueError, match="63"):
        train_robust(wrong, train, config=settings("plain"), seeds=Seeds(0))
    with pytest.raises(ValueError, match="classes"):
        train_robust(Logistic(inputs=64, classes=9), train, config=settings("plain"), seeds=Seeds(0))
    images = Augmentation(shape=(1, 8, 9), mirror=False, shift=1)
    with pytest.raises(ValueError, match="images"):
        train_robust(MLP, train, config=settings("plain", augmentation=images), seeds=Seeds(0))
    with pytest.raises(DataError, match="too few"):
        train_robust(MLP, train, config=settings("plain", checks=Checks(rows=1400)), seeds=Seeds(0))
    with pytest.raises(DataError, match="bounds"):
        train_robust(MLP, train, config=settings("plain", bounds=(0.0, 0.5)), seeds=Seeds(0))


def test_divergence_is_one_clear_error(digits):
    train, _ = digits
    fit = Fit(batch=64, epochs=3, learning_rate=1e30, gradient_norm=0.0)
    with pytest.raises(UsageError, match="diverged") as caught:
        train_robust(MLP, train, config=settings("plain", fit=fit), seeds=Seeds(0))
    assert "learning_rate" in caught.value.hint


def test_a_config_is_a_value():
    config = settings("pgd")
    assert isinstance(config, RobustConfig)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.method = "plain"
