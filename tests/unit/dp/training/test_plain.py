import numpy as np
import pytest

from wardline.core import DataError, Seeds, UsageError
from wardline.data import Examples
from wardline.dp import PlainConfig, default_plain_config, train_plain
from wardline.models import Cnn, Logistic, Mlp


def spiral(rows=300, seed=0):
    """Two classes that no straight line tells apart."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0.5, 3, rows)
    y = np.arange(rows) % 2
    x = np.stack([np.cos(2 * angle + np.pi * y), np.sin(2 * angle + np.pi * y)], 1) * angle[:, None] / 3
    return Examples(
        x=x.astype(np.float32), y=y.astype(np.int64), unit=np.arange(rows), features=("a", "b"), classes=("no", "yes")
    )


def accuracy(architecture, **arguments):
    data, fresh = spiral(), spiral(seed=1)
    config = default_plain_config(n_rows=len(data), architecture=architecture)
    model = train_plain(architecture, data, config=config, seeds=Seeds(0), **arguments)
    return (model.predict(fresh.x) == fresh.y).mean()


def test_an_mlp_learns_what_logistic_regression_cannot():
    assert accuracy(Mlp(inputs=2, hidden=(32,), classes=2)) > 0.95 > 0.9 > accuracy(Logistic(inputs=2, classes=2))


def test_the_same_seeds_give_the_same_model_and_others_do_not():
    architecture = Mlp(inputs=2, hidden=(8,), classes=2)
    config = PlainConfig(batch=50, epochs=2, learning_rate=0.01)
    models = [train_plain(architecture, spiral(), config=config, seeds=Seeds(root)) for root in (0, 0, 1)]
    np.testing.assert_array_equal(models[0].parameters["head.weight"], models[1].parameters["head.weight"])
    assert not np.array_equal(models[0].parameters["head.weight"], models[2].parameters["head.weight"])


@pytest.mark.parametrize("n_rows", [1, 7, 427, 24_421, 1_000_000])
@pytest.mark.parametrize(
    "architecture",
    [Logistic(inputs=2, classes=2), Cnn(shape=(1, 8, 8), channels=(4,), hidden=8, classes=10)],
)
def test_defaults_fit_any_size(n_rows, architecture):
    config = default_plain_config(n_rows=n_rows, architecture=architecture)
    assert 1 <= config.batch <= max(1, n_rows)
    assert 10 <= config.epochs <= 100


def test_what_does_not_fit_is_refused():
    data = spiral()
    config = PlainConfig(batch=50, epochs=1, learning_rate=0.01)
    with pytest.raises(ValueError, match="2 columns"):
        train_plain(Logistic(inputs=3, classes=2), data, config=config, seeds=Seeds(0))
    with pytest.raises(ValueError, match="2 classes"):
        train_plain(Logistic(inputs=2, classes=3), data, config=config, seeds=Seeds(0))
    with pytest.raises(DataError, match="no rows"):
        train_plain(Logistic(inputs=2, classes=2), spiral(0), config=config, seeds=Seeds(0))
    wrong = [("batch", 0), ("epochs", 0), ("learning_rate", 0.0), ("learning_rate", 1e39), ("weight_decay", -1.0)]
    for field, value in wrong:
        with pytest.raises(ValueError, match=field):
            PlainConfig(**{"batch": 1, "epochs": 1, "learning_rate": 0.1, field: value})


def test_divergence_is_one_clear_error():
    config = PlainConfig(batch=50, epochs=5, learning_rate=1e30)
    with pytest.raises(UsageError, match="diverged"):
        train_plain(Mlp(inputs=2, hidden=(4,), classes=2), spiral(), config=config, seeds=Seeds(0))
