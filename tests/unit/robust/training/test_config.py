import dataclasses
import math

import pytest

from wardline.models import Logistic, Mlp
from wardline.models.architecture import ResNet
from wardline.robust.ball import Ball
from wardline.robust.training.config import (
    METHODS,
    Augmentation,
    Checks,
    Fit,
    Search,
    default_robust_config,
)

BALL = Ball(norm="linf", radius=0.1)
GOOD = default_robust_config("pgd", ball=BALL, n_rows=1000, architecture=Logistic(inputs=3, classes=2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_rows", [10, 500, 50_000])
@pytest.mark.parametrize(
    "architecture",
    [Mlp(inputs=3, hidden=(4,), classes=2), ResNet(shape=(1, 8, 8), channels=(8,), blocks=(1,), classes=2)],
)
def test_settings_can_be_derived_for_every_method_network_and_size(method, n_rows, architecture):
    config = default_robust_config(method, ball=BALL, n_rows=n_rows, architecture=architecture)
    assert config.method == method
    assert 1 <= config.checks.rows < n_rows
    assert config.fit.batch <= n_rows - config.checks.rows
    assert (config.strength > 0) == (method in ("trades", "noise"))


def test_a_single_step_is_a_quarter_longer_than_the_radius():
    config = default_robust_config("fgsm-rs", ball=BALL, n_rows=100, architecture=Logistic(inputs=3, classes=2))
    assert config.search == Search(steps=1, step=0.125)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "magic"},
        {"method": "fgsm-rs"},  # with several steps
        {"method": "trades"},  # without a strength
        {"method": "noise", "strength": math.nan},
        {"strength": 1.0},
        {"strength": -1.0},
        {"ball": Ball(norm="linf", radius=0.0)},
        {"ball": Ball(norm="l1", radius=1.0)},
        {"bounds": (1.0, 0.0)},
        {"bounds": (0.0, math.nan)},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes):
    with pytest.raises(ValueError):
        dataclasses.replace(GOOD, **changes)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Search, {"steps": 0, "step": 0.1}),
        (Search, {"steps": 1, "step": 0.0}),
        (Search, {"steps": 1, "step": math.inf}),
        (Fit, {"batch": 0, "epochs": 1, "learning_rate": 0.1}),
        (Fit, {"batch": 1, "epochs": 0, "learning_rate": 0.1}),
        (Fit, {"batch": 1, "epochs": 1, "learning_rate": -0.1}),
        (Fit, {"batch": 1, "epochs": 1, "learning_rate": 0.1, "rise": 1.0}),
        (Fit, {"batch": 1, "epochs": 1, "learning_rate": 0.1, "average": 1.0}),
        (Fit, {"batch": 1, "epochs": 1, "learning_rate": 0.1, "weight_decay": math.inf}),
        (Fit, {"batch": 1, "epochs": 1, "learning_rate": 0.1, "gradient_norm": math.nan}),
        (Fit, {"batch": 1, "epochs": 1, "learning_rate": 0.1, "precision": "float16"}),
        (Augmentation, {"shape": (8, 8), "mirror": True, "shift": 1}),
        (Augmentation, {"shape": (1, 8, 0), "mirror": True, "shift": 1}),
        (Augmentation, {"shape": (1, 8, 8), "mirror": True, "shift": -1}),
        (Checks, {"rows": 0}),
        (Checks, {"rows": 1, "each_epoch": 0}),
        (Checks, {"rows": 1, "steps": 0}),
        (Checks, {"rows": 1, "patience": 0}),
    ],
)
def test_figures_out_of_range_are_refused(kind, values):
    with pytest.raises(ValueError):
        kind(**values)


def test_fractions_of_rows_and_epochs_are_refused():
    with pytest.raises(TypeError):
        Fit(batch=1.5, epochs=1, learning_rate=0.1)
    with pytest.raises(TypeError):
        Checks(rows=10.0)


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError):
        default_robust_config("pgd", ball=BALL, n_rows=9, architecture=Logistic(inputs=3, classes=2))


def test_trades_from_the_input_itself_is_refused_because_nothing_pulls_there():
    with pytest.raises(ValueError, match="random start"):
        dataclasses.replace(GOOD, method="trades", strength=6.0, search=Search(steps=3, step=0.1, random_start=False))


def test_images_are_not_moved_where_black_is_no_admissible_value():
    moved = Augmentation(shape=(1, 1, 3), mirror=True, shift=1)
    with pytest.raises(ValueError, match="bounds"):
        dataclasses.replace(GOOD, bounds=(0.2, 1.0), augmentation=moved)
    dataclasses.replace(GOOD, bounds=(0.2, 1.0), augmentation=dataclasses.replace(moved, shift=0))
    dataclasses.replace(GOOD, bounds=(-1.0, 1.0), augmentation=moved)
