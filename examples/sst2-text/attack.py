"""Attacks a classifier of film reviews and what defends it.

    WARDLINE_DATA=... python examples/sst2-text/attack.py [--seed 0] [--train-rows N] [--texts 500] [--quick]

Prints one row for each defence and attack. The data holds whole sentences and the phrases they are made of. Sentences
that are part of no other text are held out, and every phrase of four words or more that stands in one of them is not
learned from: a random split would test on what was learned.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.text.characters import Characters
from wardline.attacks.text.ladder import climb
from wardline.attacks.text.words import Words
from wardline.core import Seeds
from wardline.models.predictor import Predictor
from wardline.models.text import TextArchitecture, TextPredictor
from wardline.models.text_features import TextFeatures
from wardline.models.text_training import TextConfig
from wardline.robust.text.hardening import WorstOfSome
from wardline.robust.text.layers import Defended
from wardline.robust.text.lexicon import corpus_lexicon
from wardline.robust.text.normalise import Normalise
from wardline.robust.text.pipelines import Defences

EDITS = 5  # of sentences with 104 characters on average
SENTENCE, PHRASE = 8, 4  # words
CALIBRATION = 400


def phrases(text: str, *, shortest: int, whole: bool) -> Iterator[str]:
    """All runs of words of a text, of some length on; the text itself too if `whole`."""
    words = text.split(" ")
    for length in range(shortest, len(words) + whole):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def reviews(root: Path, seeds: Seeds, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Texts, whether each is positive, rows to learn from, and rows held out."""
    table = pq.read_table(root / "sst2" / "train.parquet").to_pydict()
    first = {text.strip(): row for row, text in reversed(list(enumerate(table["text"])))}
    rows = np.sort(np.fromiter(first.values(), dtype=np.int64))
    texts = np.array([table["text"][row].strip() for row in rows], dtype=object)
    parts = {part for text in texts for part in phrases(text, shortest=SENTENCE, whole=False)}
    whole = [row for row, text in enumerate(texts) if text.count(" ") >= SENTENCE - 1 and text not in parts]
    held = seeds.numpy("split").permutation(whole)[:count]
    seen = {part for row in held for part in phrases(texts[row], shortest=PHRASE, whole=True)}
    train = np.array([row for row, text in enumerate(texts) if text not in seen])
    return texts, np.array(table["label"], dtype=np.int64)[rows], seeds.numpy("order").permutation(train), held


def main() -> None:
    """Train, attack, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the split, the training and the attacks")
    parser.add_argument("--train-rows", type=int, default=None, help="train on so many texts alone")
    parser.add_argument("--texts", type=int, default=500, help="sentences that are attacked")
    parser.add_argument("--quick", action="store_true", help="only the plain model and the one behind normalisation")
    options = parser.parse_args()
    seeds = Seeds(options.seed)
    root = Path(os.environ["WARDLINE_DATA"])
    texts, labels, train, held = reviews(root, seeds, options.texts + CALIBRATION)
    held, calibration = held[: options.texts], held[options.texts :]
    train = train[: options.train_rows]
    lexicon = corpus_lexicon(texts[train], labels[train], seeds=seeds.child("lexicon"))
    defences = Defences(
        architecture=TextArchitecture(features=TextFeatures()),
        config=TextConfig(epochs=2, learning_rate=1e-2),
        classes=("negative", "positive"),
        adversary=WorstOfSome(lexicon=lexicon),
    )
    if options.quick:
        plain = TextPredictor(defences.train(texts[train], labels[train], seeds=seeds))
        pipelines: dict[str, Predictor] = {"none": plain, "normalise": Defended(plain, [Normalise()])}
    else:
        pipelines = defences.pipelines(texts[train], labels[train], calibration=texts[calibration], seeds=seeds)
    print(f"{len(train)} texts to learn from, {len(held)} sentences held out and attacked")
    attacks = {
        "look-alikes": Characters(edits=EDITS, kinds=("homoglyph", "invisible")),
        "characters": Characters(edits=EDITS),
        "words": Words(lexicon=lexicon),
    }
    data = Labelled(x=texts[held], y=labels[held])
    for rung in climb(pipelines, attacks, data, budget=Budget(), seed=options.seed):
        print(rung, flush=True)


if __name__ == "__main__":
    main()
