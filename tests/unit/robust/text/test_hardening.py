"""Training on the worst of some changes."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.robust.text.edits import single_edits
from wardline.robust.text.hardening import WorstOfSome


def texts(*given: str) -> np.ndarray:
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


def test_the_change_with_the_greatest_loss_is_learned_from():
    clean = texts(*["lovely film"] * 40)
    seen: list[str] = []

    def losses(rows, labels):
        assert len(rows) == len(labels)
        seen.extend(rows)
        return np.array([len(row) for row in rows], dtype=np.float32)

    adversary = WorstOfSome(kinds=("insert", "delete"), share=1.0, tries=8)
    changed = adversary.change(clean, np.zeros(40, dtype=np.int64), losses=losses, generator=np.random.default_rng(0))
    assert len(seen) == 320
    best = [max(len(row) for row in seen[start : start + 8]) for start in range(0, 320, 8)]
    assert [len(row) for row in changed] == best
    assert (clean == "lovely film").all()


def test_a_share_of_the_batch_is_changed_by_the_kinds_that_are_named():
    clean = texts(*["film"] * 1000)
    adversary = WorstOfSome(kinds=("swap",), share=0.5, tries=1)
    changed = adversary.change(
        clean,
        np.zeros(1000, dtype=np.int64),
        losses=lambda x, y: np.zeros(len(x), np.float32),
        generator=np.random.default_rng(0),
    )
    assert set(changed) == {"film", *single_edits("film", "swap")}
    # Six standard deviations of a share of a half: a false alarm of 2e-9.
    assert abs((changed != "film").mean() - 0.5) < 0.1


def test_texts_without_words_stay():
    adversary = WorstOfSome(share=1.0)
    assert adversary.one("?!", np.random.default_rng(0)) == "?!"


@pytest.mark.parametrize(
    "wrong", [{"kinds": ()}, {"kinds": ("typo",)}, {"share": 0.0}, {"tries": 0}, {"word_rate": 1.5}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        WorstOfSome(**wrong)
