from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wardline.attacks import MembershipSettings, ReferenceRecipe, infer_membership
from wardline.core import Measurement, Seeds, canonical_json
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp, TrainedModel

ARCHITECTURE = Mlp(inputs=12, hidden=(16,), classes=2)
TRAINING = PlainConfig(batch=32, epochs=20, learning_rate=0.02)
RECIPE = ReferenceRecipe(architecture=ARCHITECTURE, training=TRAINING, references=4)


def _examples(units: int, rows_per_unit: int, stream: str) -> Examples:
    generator = Seeds(3).numpy(stream)
    rows = units * rows_per_unit
    return Examples(
        x=generator.normal(size=(rows, 12)).astype(np.float32),
        y=generator.integers(2, size=rows),
        unit=np.arange(rows, dtype=np.int64) // rows_per_unit,
        features=tuple(f"f{i}" for i in range(12)),
        classes=("no", "yes"),
    )


def _trained(examples: Examples, seed: int = 0) -> TrainedModel:
    return train_plain(ARCHITECTURE, examples, config=TRAINING, seeds=Seeds(seed))


def _attack(members: Examples, non_members: Examples, **changes: object) -> dict[str, Measurement]:
    model = _trained(members)
    settings = dataclasses.replace(MembershipSettings(fprs=(0.05, 0.001)), **changes)
    found = infer_membership(
        target=model, control=model, members=members, non_members=non_members, recipe=RECIPE, settings=settings,
        seeds=Seeds(1),
    )  # fmt: skip
    assert len({one.id for one in found}) == len(found)
    return {one.id: one for one in found}


def test_every_figure_is_there_and_survives_json() -> None:
    found = _attack(_examples(120, 1, "in"), _examples(80, 1, "out"))
    expected = {
        f"membership.{method}{figure}{twin}"
        for method in ("loss", "rmia", "lira")
        for figure in ("", ".0.001", ".auc")
        for twin in ("", ".baseline")
    }
    assert set(found) == expected
    for one in found.values():
        assert Measurement.from_json(one.to_json()).to_json() == one.to_json()
        canonical_json(one.to_json())
        assert (one.subject == "baseline") == one.id.endswith(".baseline")
        assert (one.control is None) == (one.subject == "baseline" or bool(one.refused))
    main = found["membership.rmia"]
    assert main.quantity == "tpr_at_fpr_0.05"
    assert len(main.details["roc"]["fpr"]) == len(main.details["roc"]["tpr"]) <= 200
    assert main.details["sizes"]["reference_rows"] == 100


def test_a_rate_that_needs_more_non_members_is_refused_with_their_number() -> None:
    found = _attack(_examples(120, 1, "in"), _examples(80, 1, "out"), methods=("loss",))
    refused = found["membership.loss.0.001"]
    assert refused.value is None
    assert "needs at least 1000 non-members, there are 80" in refused.refused


def test_candidates_are_sampled_down_and_the_rest_keeps_the_references_company() -> None:
    found = _attack(_examples(120, 1, "in"), _examples(80, 1, "out"), methods=("rmia",), max_candidates=50)
    sizes = found["membership.rmia.auc"].details["sizes"]
    assert sizes["members"] == sizes["non_members"] == 50
    assert (sizes["members_in_all"], sizes["non_members_in_all"]) == (120, 80)
    assert sizes["reference_rows"] == 50 + 70


def test_people_are_attacked_as_a_whole_and_give_more_away_than_a_row() -> None:
    """Eight rows of a person are eight times the evidence; the candidates are the people."""
    by_row = _attack(_examples(60 * 8, 1, "in"), _examples(60 * 8, 1, "out"), methods=("loss",))
    by_person = _attack(_examples(60, 8, "in"), _examples(60, 8, "out"), methods=("loss",))
    row, person = by_row["membership.loss.auc"], by_person["membership.loss.auc"]
    assert person.trials == 120
    assert person.details["sizes"]["members"] == 60
    assert person.value > row.value + 0.05


def test_the_same_seeds_give_the_same_figures() -> None:
    members, non_members = _examples(60, 1, "in"), _examples(60, 1, "out")
    first, second = (_attack(members, non_members) for _ in range(2))
    assert {i: one.value for i, one in first.items()} == {i: one.value for i, one in second.items()}


def test_bad_settings_are_refused() -> None:
    for settings in (
        {"methods": ()},
        {"methods": ("loss", "loss")},
        {"methods": ("guess",)},
        {"fprs": ()},
        {"fprs": (0.0,)},
        {"level": 1.0},
        {"max_candidates": 1},
    ):
        with pytest.raises(ValueError):
            MembershipSettings(**settings)


def test_sides_of_different_columns_are_refused() -> None:
    members = _examples(20, 1, "in")
    other = dataclasses.replace(members, features=tuple(f"g{i}" for i in range(12)))
    with pytest.raises(ValueError, match="same columns"):
        _attack(members, other)
