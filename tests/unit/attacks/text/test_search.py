"""Greedy and beam search over the words of texts."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.text.search import Search, State
from wardline.core import Seeds


def texts(*given: str) -> np.ndarray:
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


class Weighted:
    """Adds up weights of words; the second class wins above 0."""

    classes, gives = 2, "logits"

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights
        self.batches: list[list[str]] = []

    def answer(self, x):
        self.batches.append(list(x))
        totals = [sum(self.weights.get(word, 0.0) for word in text.split()) for text in x]
        return np.stack([np.zeros(len(x)), np.array(totals)], axis=1).astype(np.float32)


class Drop:
    """Replaces a word by "x", or by "y"; `room` times at most."""

    def __init__(self, room: int) -> None:
        self.most = room

    def room(self, original):
        return self.most

    def at(self, original, state, place, *, generator):
        if state.cost >= self.most:
            return ()
        return [
            State(cut=(*state.cut[:place], word, *state.cut[place + 1 :]), cost=state.cost + 1) for word in ("x", "y")
        ]


def run(search: Search, model: Weighted, room: int, *given: str) -> list[str]:
    x = texts(*given)
    batch = Batch(x=x, y=np.ones(len(x), dtype=np.int64), best=x.copy(), seeds=Seeds(0))
    search.run(Target(model, TextSpec()), batch, Drop(room))
    return list(batch.best)


def test_the_word_that_carries_the_answer_is_changed_first():
    model = Weighted({"a": 1, "b": 5, "c": 2})
    assert run(Search(), model, 1, "a b c") == ["a x c"]


def test_all_texts_go_to_the_model_in_one_batch_a_step():
    model = Weighted({"a": 1, "b": 5})
    found = run(Search(), model, 2, "a b", "b a", "b b b", "q")
    assert found == ["x x", "x x", "x x b", "q"]
    # The clean texts, every word left out, and two visits: at a third nothing more may be changed.
    assert [len(batch) for batch in model.batches] == [4, 2 + 2 + 3, 6, 6]


def test_a_text_that_is_broken_is_left_alone():
    model = Weighted({"a": 1, "b": 1, "x": -9})
    assert run(Search(), model, 3, "a b") == ["x b"]
    assert len(model.batches) == 3


def test_a_beam_finds_what_greed_does_not():
    # Greed takes y for the first word; only x and x together win.
    class Pair(Weighted):
        def answer(self, x):
            scores = super().answer(x)
            scores[:, 1] += [{"x x": -20.0, "y b": -4.0, "x b": -3.0}.get(text, 0.0) for text in x]
            return scores

    weights = {"a": 10.0, "b": 5.0, "x": 5.0, "y": 5.0}
    assert run(Search(beam=1), Pair(weights), 2, "a b") != ["x x"]
    assert run(Search(beam=2), Pair(weights), 2, "a b") == ["x x"]


def test_the_temporal_ranking_reads_heads_and_tails():
    class Heads(Weighted):
        """Reads the last word alone."""

        def answer(self, x):
            return super().answer(texts(*[text.split()[-1] if text.split() else "" for text in x]))

    assert run(Search(ranking="temporal"), Heads({"a": 1, "b": 3, "c": 2}), 1, "b a c") == ["b a x"]


def test_what_was_found_before_the_budget_ended_stands():
    model = Weighted({"a": 1, "b": 5})
    x = texts("a b", "a b")
    batch = Batch(x=x, y=np.ones(2, dtype=np.int64), best=x.copy(), seeds=Seeds(0))
    target = Target(model, TextSpec())
    with target.ledger.within(queries=2 + 4 + 4), pytest.raises(BudgetSpent):
        Search().run(target, batch, Drop(2))
    assert list(batch.best) == ["a x", "a x"]
    assert target.ledger.queries == 10


def test_a_model_that_refuses_has_not_been_broken():
    class Refusing(Weighted):
        def answer(self, x):
            scores = super().answer(x)
            scores[["x" in text.split() for text in x]] = np.nan
            return scores

    model = Refusing({"a": 1, "y": 0.5})
    assert run(Search(), model, 1, "a") == ["y"]  # the margin fell, and x gave no answer


def test_a_text_that_nothing_moves_is_given_up_where_patience_ends():
    given = "a b c d e f"
    deaf = Weighted(dict.fromkeys("abcdefxy", 1.0))
    run(Search(patience=2), deaf, 6, given)
    assert [len(batch) for batch in deaf.batches] == [1, 6, 2, 2]
    # One word that moves it sets the count back.
    once = Weighted(dict.fromkeys("abcdefxy", 1.0) | {"b": 2.0})
    assert run(Search(patience=2), once, 6, given) == ["a x c d e f"]
    assert [len(batch) for batch in once.batches] == [1, 6, 2, 2, 2]


@pytest.mark.parametrize(
    "wrong", [{"beam": 0}, {"passes": 0}, {"queries_each": 0}, {"patience": 0}, {"ranking": "all"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Search(**wrong)
