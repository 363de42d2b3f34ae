"""Swapped words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.attacks.protocol.examples import Batch, Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.text.words import Words
from wardline.core import Seeds, Verdict, canonical_json
from wardline.models.text_vectors import WordVectors
from wardline.robust.text.edits import pieces
from wardline.robust.text.lexicon import Lexicon

# Unit vectors: "good" and "fine" near each other, the others apart.
VECTORS = WordVectors(
    words=("good", "fine", "film", "movie", "story"),
    vectors=np.array(
        [[1, 0, 0], [0.9, np.sqrt(0.19), 0], [0, 0, 1], [0, 0.1, np.sqrt(0.99)], [0, 1, 0]], dtype=np.float32
    ),
)
LEXICON = Lexicon(substitutes={"good": ("story", "fine"), "film": ("movie",), "movie": ("film",)}, vectors=VECTORS)


class Keyword:
    """Says 1 the more surely, the more often it reads "good" or "film"."""

    classes, gives = 2, "logits"

    def answer(self, x):
        counts = np.array([text.lower().count("good") * 2 + text.lower().count("film") for text in x], dtype=np.float32)
        return np.stack([np.full(len(x), 1.5, dtype=np.float32), counts], axis=1)


def texts(*given: str) -> np.ndarray:
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


def target() -> Target:
    return Target(Keyword(), TextSpec())


def attacked(text: str, attack: Words) -> str:
    x = texts(text)
    batch = Batch(x=x, y=np.array([1]), best=x.copy(), seeds=Seeds(0))
    attack.craft(target(), batch)
    return str(batch.best[0])


def test_the_word_that_matters_is_replaced_by_the_substitute_nearest_in_meaning():
    # "story" would do as well, and is further away.
    assert attacked("A Good old tale", Words(lexicon=LEXICON, share=0.25)) == "A Fine old tale"


def test_a_substitute_that_leads_too_far_is_not_taken():
    only_far = Lexicon(substitutes={"good": ("story",)}, vectors=VECTORS)
    assert attacked("a good old tale", Words(lexicon=only_far, nearness=0.5)) == "a good old tale"
    assert attacked("a good old tale", Words(lexicon=only_far, nearness=-1)) == "a story old tale"


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.1, 1), (0.3, 1), (0.5, 2), (1.0, 4)])
def test_a_share_of_the_words_is_changed_at_most(share, changed):
    # Four words that count: the margin stays above 0 to the last, so as many are swapped as may be.
    class Stubborn(Keyword):
        def answer(self, x):
            return super().answer(x) + np.array([0, 100], dtype=np.float32)

    x = texts("good film good film")
    batch = Batch(x=x, y=np.array([1]), best=x.copy(), seeds=Seeds(0))
    attack = Words(lexicon=LEXICON, share=share, nearness=-1)
    attack.craft(Target(Stubborn(), TextSpec()), batch)
    assert sum(one != other for one, other in zip(batch.best[0].split(), x[0].split(), strict=True)) == changed
    assert attack.within(batch.best, x).all()


WORD = st.sampled_from(
    [
        "good",
        "Film",
        "MOVIE",
        "e\u0301",
        "\ud800",
        "\u202egood",
        "\U0001f469\u200d\U0001f4bb",
        "good\u200bfilm",
        "1st",
        "",
        "?",
    ]
)
ANY = st.one_of(st.text(st.characters(exclude_categories=()), max_size=20), st.lists(WORD, max_size=9).map(" ".join))


@settings(max_examples=100, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=3), st.floats(0, 1), st.floats(-1, 1), st.integers(1, 3))
def test_shares_and_nearness_are_never_exceeded_whatever_the_text(given, share, nearness, beam):
    x = texts(*given)
    batch = Batch(x=x, y=Keyword().answer(x).argmax(axis=1), best=x.copy(), seeds=Seeds(0))
    attack = Words(lexicon=LEXICON, share=share, nearness=nearness, beam=beam)
    attack.craft(target(), batch)
    assert attack.within(batch.best, x).all()
    for new, old in zip(batch.best, x, strict=True):
        now, then = pieces(new)[1::2], pieces(old)[1::2]
        swapped = sum(one != other for one, other in zip(now, then, strict=True))
        assert swapped <= (max(1, share * len(then)) if share else 0)


def test_what_left_the_threat_is_seen_without_knowing_how_it_came_about():
    attack = Words(lexicon=LEXICON, share=0.5, nearness=0.5)
    original = texts(*["good film!"] * 6)
    changed = texts("good movie!", "fine movie!", "good cinema!", "good movie?", "good long movie!", "story film!")
    assert attack.within(changed, original).tolist() == [True, False, False, False, False, True]
    assert not Words(lexicon=LEXICON, share=0.5, nearness=0.95).within(changed, original)[5]


def test_it_breaks_the_keyword_model_and_without_a_share_nothing_changes():
    data = Labelled(x=texts(*["a good old film"] * 30, "an old film"), y=np.array([1] * 30 + [0]))
    whole = Words(lexicon=LEXICON, share=0.5).run(target(), data, Budget(), 0)
    assert whole.rate == 30 / 31
    assert whole.verdict is Verdict.FAIL
    none = Words(lexicon=LEXICON, share=0.0).run(target(), data, Budget(), 0)
    assert none.rate == 0
    assert none.details["robust_accuracy"] == none.details["clean_accuracy"]
    assert canonical_json(whole.to_json()) == canonical_json(
        Words(lexicon=LEXICON, share=0.5).run(target(), data, Budget(), 0).to_json()
    )


def test_without_substitutes_a_failure_is_inconclusive():
    data = Labelled(x=texts(*["good good good"] * 40), y=np.ones(40, dtype=np.int64))
    poor = Lexicon(substitutes={"film": ("movie",)}, vectors=VECTORS)
    result = Words(lexicon=poor).run(target(), data, Budget(), 0)
    assert result.rate == 0
    assert result.verdict is Verdict.INCONCLUSIVE
    assert {check.name: check.outcome for check in result.checks}["substitutes"] is Verdict.INCONCLUSIVE


class Film(Keyword):
    """Says 1 of texts with "film"."""

    def answer(self, x):
        return np.array([[0.5, "film" in text] for text in x], dtype=np.float32)


def test_without_a_lexicon_one_is_made_from_the_texts_under_attack_even_of_one_class():
    """How frequent a word is there says nothing about its class: "movie" stands in for "film" though it is rarer."""
    x = texts(*[f"a {'movie' if row % 9 == 0 else 'film'} of cats" for row in range(90)])
    data = Labelled(x=x, y=np.ones(90, dtype=np.int64))
    result = Words(share=0.25, nearness=0.5).run(Target(Film(), TextSpec()), data, Budget(), 0)
    assert result.details["clean_accuracy"]["value"] == 80 / 90
    assert set(result.examples["adversarial"][result.examples["found"]]) == {"a movie of cats"}
    assert result.details["robust_accuracy"]["value"] == 0
    with pytest.raises(ValueError, match="no lexicon"):
        Words().within(x, x)


def test_the_limits_say_that_one_word_may_be_changed_in_a_short_text_too():
    assert attacked("good", Words(lexicon=LEXICON, share=0.25)) == "fine"
    threat = Words(lexicon=LEXICON, share=0.25).threat(target())
    assert threat.limits == "at most 0.25 of the words, but one in any text, nearness at least 0.8"
    assert "in any text" not in Words(lexicon=LEXICON, share=0.0).threat(target()).limits


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"nearness": 2.0}, {"beam": 0}, {"queries_each": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        Words(**wrong)
