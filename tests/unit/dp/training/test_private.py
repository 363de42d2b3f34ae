import dataclasses
import json

import numpy as np
import pytest

from wardline.core import Claim, DataError, IntegrityError, NoProgress, SecureRandom, Seeds, UsageError
from wardline.data import Examples
from wardline.dp import DpSgdConfig, epsilon_spent, train_dp, training_claim
from wardline.dp.training import private as module
from wardline.dp.training.gradients import ClippedSum
from wardline.models import Cnn, Logistic, Mlp, columns
from wardline.models.architecture import ResNet

ARCHITECTURE = Mlp(inputs=3, hidden=(4,), classes=2)
CONFIG = DpSgdConfig(
    epsilon=10.0, delta=1e-3, clip_norm=1.0, noise_multiplier=1.0, sample_rate=0.3, steps=20, learning_rate=0.5
)


def examples(rows=60, *, unit=None, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3)).astype(np.float32)
    return Examples(
        x=x,
        y=(x[:, 0] > 0).astype(np.int64),
        unit=np.arange(rows) if unit is None else unit,
        features=("a", "b", "c"),
        classes=("no", "yes"),
    )


def train(data=None, *, config=CONFIG, architecture=ARCHITECTURE, random=None, **arguments):
    return train_dp(
        architecture,
        examples() if data is None else data,
        config=config,
        random=random or SecureRandom(),
        seeds=Seeds(0),
        **arguments,
    )


class Memory:
    """The newest checkpoint, kept in memory, and how often and where one was written."""

    def __init__(self):
        self.data = None
        self.steps = []

    def load(self):
        return self.data

    def save(self, step, data):
        self.steps.append(step)
        self.data = data


class StoppedError(Exception):
    pass


class StopAt(NoProgress):
    def __init__(self, step):
        self.step = step
        self.seen = []

    def advance(self, done, detail=""):
        assert detail == ""
        self.seen.append(done)
        if done == self.step:
            raise StoppedError


def counting(monkeypatch):
    """Count how often the data is read and how often noise covers what was read."""
    calls = []

    def counted(owner, name):
        original = getattr(owner, name)

        def call(*arguments, **named):
            calls.append(name)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    counted(ClippedSum, "__call__")
    counted(module, "noisy_sum")
    return calls


def test_every_look_at_the_data_is_covered_by_noise_and_there_are_as_many_as_were_accounted(monkeypatch):
    calls = counting(monkeypatch)
    train()
    assert calls == ["__call__", "noisy_sum"] * CONFIG.steps


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(monkeypatch):
    calls = counting(monkeypatch)
    store = Memory()
    with pytest.raises(StoppedError):
        train(checkpoints=store, progress=StopAt(7), config=dataclasses.replace(CONFIG, steps=60))
    assert store.steps == [3, 6]
    taken = calls.count("noisy_sum")
    watched = StopAt(None)
    train(checkpoints=store, progress=watched, config=dataclasses.replace(CONFIG, steps=60))
    # Step 7 was lost unseen and is taken again; the path to the model has 60 steps.
    assert watched.seen == [6, *range(7, 61)]
    assert calls.count("noisy_sum") - taken == 54
    assert store.steps == list(range(3, 61, 3))


def test_going_on_after_the_last_step_gives_the_same_model_without_another_look():
    store = Memory()
    first = train(checkpoints=store)
    again = train(checkpoints=store, progress=StopAt(None))
    for name, value in first.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)
    assert store.steps[-1] == CONFIG.steps


def test_noise_after_going_on_is_fresh():
    store = Memory()
    with pytest.raises(StoppedError):
        train(checkpoints=store, progress=StopAt(10))
    data = store.data
    models = []
    for _ in range(2):
        store.data = data
        models.append(train(checkpoints=store))
    assert not np.array_equal(models[0].parameters["head.weight"], models[1].parameters["head.weight"])


def test_two_runs_with_the_same_seeds_differ():
    models = [train() for _ in range(2)]
    assert not np.array_equal(models[0].parameters["head.weight"], models[1].parameters["head.weight"])


def test_a_checkpoint_holds_noisy_numbers_and_nothing_about_the_rows():
    stores = []
    for data in (examples(), examples(seed=1)):
        stores.append(Memory())
        train(data, checkpoints=stores[-1])
    headers = [json.loads(store.data[8 : 8 + int.from_bytes(store.data[:8], "little")]) for store in stores]
    # Everything but the numbers themselves is equal for two data sets of one size.
    assert headers[0] == headers[1]
    assert set(headers[0]["__metadata__"]) == {"schema", "run", "step"}
    assert {name.split("/")[0] for name in headers[0]} == {"__metadata__", "parameters", "momentum", "average"}


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data.replace(b'"step":"20"', b'"step":"21"'),
        lambda data: data.replace(b'"step":"20"', b'"step":"-2"'),
        lambda data: data.replace(b'"step":"20"', b'"step":"2 "'),
        lambda data: data.replace(b"wardline.checkpoint/1", b"wardline.checkpoint/2"),
        lambda data: data[:-4] + np.float32(np.nan).tobytes(),
    ],
    ids=["cut off", "longer", "empty", "beyond the end", "negative", "blank", "other format", "not a number"],
)
def test_a_damaged_checkpoint_is_refused(change):
    store = Memory()
    train(checkpoints=store)
    changed = change(store.data)
    assert changed != store.data
    store.data = changed
    with pytest.raises(IntegrityError):
        train(checkpoints=store)


@pytest.mark.parametrize(
    "changes", [{"noise_multiplier": 2.0}, {"steps": 40}, {"learning_rate": 0.1}, {"unit": "person"}]
)
def test_a_checkpoint_of_another_run_is_refused(changes):
    store = Memory()
    train(checkpoints=store)
    with pytest.raises(IntegrityError, match="other settings"):
        train(checkpoints=store, config=dataclasses.replace(CONFIG, **changes))
    with pytest.raises(IntegrityError):
        train(examples(61), checkpoints=store)


def test_empty_samples_still_get_noise_and_a_step():
    # One unit at a rate of 1/1000: practically every sample is empty.
    config = dataclasses.replace(CONFIG, sample_rate=1e-3, steps=5, learning_rate=1e-4)
    model = train(examples(1), config=config, architecture=Logistic(inputs=3, classes=2), rows_at_once=1)
    assert all(value.all() for value in model.parameters.values())


@pytest.mark.parametrize("unit", [np.arange(60), np.repeat(np.arange(20), 3)], ids=["rows", "persons"])
@pytest.mark.parametrize("architecture", [ARCHITECTURE, Cnn(shape=(1, 2, 2), channels=(2,), hidden=3, classes=2)])
def test_pieces_of_a_large_batch_add_up_to_the_same_model(architecture, unit, monkeypatch):
    # Without noise and with everybody in every step, all that is left of a run is arithmetic.
    monkeypatch.setattr(module, "noisy_sum", lambda total, **_: {name: value.float() for name, value in total.items()})
    config = dataclasses.replace(
        CONFIG, sample_rate=1.0, clip_norm=0.05, unit="row" if len(unit) == unit[-1] + 1 else "person",
        max_rows_per_unit=60 // (int(unit[-1]) + 1),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(60, columns(architecture))).astype(np.float32)
    data = Examples(
        x=x, y=(x[:, 0] > 0).astype(np.int64), unit=unit, features=tuple(map(str, range(x.shape[1]))),
        classes=("no", "yes"),
    )  # fmt: skip
    whole = train(data, config=config, architecture=architecture)
    for rows_at_once in (1, 7, 59):
        pieces = train(data, config=config, architecture=architecture, rows_at_once=rows_at_once)
        for name, value in whole.parameters.items():
            np.testing.assert_allclose(pieces.parameters[name], value, atol=1e-5)
    with pytest.raises(ValueError, match="rows_at_once"):
        train(data, config=config, architecture=architecture, rows_at_once=0)


def test_the_step_is_scaled_by_the_expected_batch_not_by_the_real_one():
    # Noise alone, on a logistic model that starts at zero: its size tells the divisor, 0.001 * 1 unit.
    config = dataclasses.replace(CONFIG, sample_rate=1e-3, steps=1, learning_rate=1e-3)
    wide = Logistic(inputs=3, classes=2, linear_inputs=997)
    data = Examples(
        x=np.zeros((1, 1000), np.float32),
        y=np.zeros(1, np.int64),
        unit=np.zeros(1, np.int64),
        features=tuple(map(str, range(1000))),
        classes=("no", "yes"),
    )
    weights = train(data, config=config, architecture=wide).parameters["wide.weight"]
    assert weights.std() == pytest.approx(1.0, rel=0.2)  # 1994 draws: 0.2 is more than twelve standard errors


def test_the_released_parameters_are_the_average_of_the_last_half(monkeypatch):
    # Without noise and sampling the path is that of plain gradient descent, computed here by hand.
    monkeypatch.setattr(module, "noisy_sum", lambda total, **_: {name: value.float() for name, value in total.items()})
    config = dataclasses.replace(CONFIG, sample_rate=1.0, steps=4, momentum=0.5, clip_norm=100.0)
    data = examples(8)
    model = train(data, config=config, architecture=Logistic(inputs=3, classes=2))
    weight, bias = np.zeros((2, 3)), np.zeros(2)
    velocity, path = [0.0, 0.0], []
    for _ in range(4):
        logits = data.x @ weight.T + bias
        prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        error = prob - np.eye(2)[data.y]
        velocity = [0.5 * velocity[0] + error.T @ data.x / 8, 0.5 * velocity[1] + error.mean(0)]
        weight, bias = weight - 0.5 * velocity[0], bias - 0.5 * velocity[1]
        path.append(weight)
    np.testing.assert_allclose(model.parameters["head.weight"], (path[2] + path[3]) / 2, atol=1e-6)


def test_it_learns_what_there_is_to_learn():
    config = dataclasses.replace(CONFIG, sample_rate=0.5, steps=60, learning_rate=1.0)
    data = examples(2000)
    assert (train(data, config=config).predict(data.x) == data.y).mean() > 0.95


def test_persons_are_trained_on_with_all_their_rows():
    unit = np.repeat(np.arange(20), 3)
    config = dataclasses.replace(CONFIG, unit="person", max_rows_per_unit=3)
    assert train(examples(unit=unit), config=config).features == ("a", "b", "c")
    with pytest.raises(DataError, match="more than 2 rows"):
        train(examples(unit=unit), config=dataclasses.replace(config, max_rows_per_unit=2))
    with pytest.raises(DataError, match="more than 1 rows"):
        train(examples(unit=unit))


@pytest.mark.parametrize("random", [Seeds(0), np.random.default_rng(0)])
def test_nothing_that_can_be_seeded_is_accepted(random):
    with pytest.raises(TypeError, match="SecureRandom"):
        train(random=random)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 columns"):
        train(architecture=Logistic(inputs=4, classes=2))
    with pytest.raises(ValueError, match="2 classes"):
        train(architecture=Logistic(inputs=3, classes=3))
    with pytest.raises(DataError, match="no rows"):
        train(examples(0))
    with pytest.raises(ValueError, match="per-example gradients"):
        train(architecture=ResNet(shape=(1, 1, 3), channels=(8,), blocks=(1,), classes=2))


def test_divergence_is_one_clear_error():
    config = dataclasses.replace(CONFIG, learning_rate=1e30, noise_multiplier=1e10, clip_norm=1e3)
    with pytest.raises(UsageError, match="diverged") as caught:
        train(config=config)
    assert "learning_rate" in caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise_multiplier", 0.0),
        ("noise_multiplier", float("inf")),
        ("noise_multiplier", float("nan")),
        ("epsilon", 0.0),
        ("epsilon", float("nan")),
        ("delta", 0.0),
        ("delta", 1.0),
        ("clip_norm", 0.0),
        ("sample_rate", 0.0),
        ("sample_rate", 1.5),
        ("sample_rate", float("nan")),
        ("steps", 0),
        ("learning_rate", -1.0),
        ("learning_rate", 1e39),
        ("momentum", 1.0),
        ("momentum", float("nan")),
        ("unit", "household"),
        ("max_rows_per_unit", 0),
        ("max_rows_per_unit", 2),
    ],
)
def test_a_config_that_protects_nobody_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CONFIG, **{field: value})


def test_the_claim_says_what_was_promised_and_under_which_assumptions():
    spent = epsilon_spent(delta=1e-3, sample_rate=0.3, noise_multiplier=1.0, steps=20)
    config = dataclasses.replace(CONFIG, epsilon=spent * 1.001)
    claim = training_claim(config, n_units=60)
    assert (claim.id, claim.quantity, claim.value, claim.direction) == (
        "dp.training", "epsilon", config.epsilon, "at_most",
    )  # fmt: skip
    assert claim.parameters["epsilon_accounted"] == spent
    assert claim.parameters["units"] == 60
    text = " ".join(claim.assumptions)
    for word in ("adding or removing one row", "public", "held-out", "at most one row"):
        assert word in text
    assert Claim.from_json(claim.to_json()) == claim
    person = training_claim(dataclasses.replace(config, unit="person", max_rows_per_unit=8), n_units=60)
    assert "person with up to 8 rows" in person.statement


def test_a_claim_that_the_noise_does_not_bear_is_refused():
    with pytest.raises(ValueError, match="more than the 1 that it claims"):
        training_claim(dataclasses.replace(CONFIG, epsilon=1.0), n_units=60)
