"""Membership inference where there is nothing to find, and where there is.

All intervals here are at a level of 1 - 1e-7, so that each check alarms falsely with a probability of about 1e-7
(areas: up to the normal approximation; rates: at most). Seeds are fixed, so the result does not vary anyway.
"""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks import MembershipSettings, ReferenceRecipe, infer_membership, tpr_at_fpr
from wardline.core import Measurement, Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Architecture, Logistic, Mlp

LEVEL = 1 - 1e-7
MLP = Mlp(inputs=20, hidden=(32,), classes=2)


def _examples(rows: int, stream: str, *, noise: float = 1.0) -> Examples:
    generator = Seeds(11).numpy(stream)
    x = generator.normal(size=(rows, 20)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] + noise * generator.normal(size=rows) > 0).astype(np.int64)
    unit = np.arange(rows, dtype=np.int64)
    return Examples(x=x, y=y, unit=unit, features=tuple(f"f{i}" for i in range(20)), classes=("no", "yes"))


def _attack(
    architecture: Architecture, trained_on: Examples, members: Examples, non_members: Examples, *, epochs: int
) -> dict[str, Measurement]:
    training = PlainConfig(batch=64, epochs=epochs, learning_rate=0.01)
    model = train_plain(architecture, trained_on, config=training, seeds=Seeds(2))
    found = infer_membership(
        target=model,
        control=model,
        members=members,
        non_members=non_members,
        recipe=ReferenceRecipe(architecture=architecture, training=training, references=16),
        settings=MembershipSettings(fprs=(0.1,), level=LEVEL),
        seeds=Seeds(4),
    )
    return {one.id: one for one in found}


def test_a_model_that_saw_neither_side_gives_nobody_away_although_the_control_works() -> None:
    found = _attack(MLP, _examples(600, "elsewhere"), _examples(600, "in"), _examples(600, "out"), epochs=40)
    for method in ("loss", "rmia", "lira"):
        area, rate = found[f"membership.{method}.auc"], found[f"membership.{method}"]
        assert area.interval.low <= 0.5 <= area.interval.high
        assert rate.interval.low <= 0.1 <= rate.interval.high
        assert area.control.passed
        assert "memorise" in area.control.description


def test_a_model_that_saw_the_members_gives_them_away() -> None:
    """Effect to be detected: an overfitted network, areas of about 0.65 (LOSS) and 0.75 and more (RMIA, LiRA)."""
    members = _examples(600, "in")
    found = _attack(MLP, members, members, _examples(600, "out"), epochs=40)
    for method in ("loss", "rmia", "lira"):
        assert found[f"membership.{method}.auc"].interval.low > 0.5
        assert found[f"membership.{method}.auc"].control.passed
        assert found[f"membership.{method}.auc"].control.description == "the same attack on the unprotected twin"
    assert found["membership.rmia"].interval.low > 0.1


def test_the_memorising_control_works_for_a_model_too_small_to_overfit() -> None:
    """A logistic regression on easy rows leaks next to nothing; on random labels the attacks must still find it."""
    members = _examples(600, "in", noise=0.1)
    found = _attack(Logistic(inputs=20, classes=2), members, members, _examples(600, "out", noise=0.1), epochs=5)
    loss = found["membership.loss.auc"]
    assert loss.interval.low < 0.5
    assert loss.control.passed
    assert "memorise" in loss.control.description


@pytest.mark.parametrize(("non_members", "fpr"), [(150, 0.01), (1000, 0.01), (2000, 0.001)])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_interval_of_a_rate_covers_it_although_the_threshold_was_estimated(
    non_members: int, fpr: float, shift: float
) -> None:
    """300 draws at a level of 0.9: coverage is at least 0.9 each, so fewer than 240 have a chance below 1e-6.

    The effect it must detect: an interval that takes the threshold for the population's covers far less.
    """
    from scipy.stats import norm

    from wardline.attacks import clopper_pearson

    true_rate = norm.sf(norm.isf(fpr) - shift)
    generator = np.random.default_rng(3)
    covered = naive = 0
    for _ in range(300):
        members, others = generator.normal(size=1000) + shift, generator.normal(size=non_members)
        rate = tpr_at_fpr(members, others, fpr=fpr, level=0.9)
        covered += rate.interval.low <= true_rate <= rate.interval.high
        plain = clopper_pearson(round(rate.value * 1000), 1000, level=0.9)
        naive += plain.low <= true_rate <= plain.high
    assert covered >= 240
    if shift:
        assert naive < 240
