"""The usual defences of one text classifier, each alone and all together, ready to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.core import Seeds
from wardline.models.predictor import Inputs, Predictor
from wardline.models.text import TextArchitecture, TextModel, TextPredictor
from wardline.models.text_training import Adversary, TextConfig, train_text
from wardline.robust.text.hardening import WorstOfSome
from wardline.robust.text.layers import Defended
from wardline.robust.text.monitor import TextMonitor
from wardline.robust.text.normalise import Normalise
from wardline.robust.text.spelling import Spelling


@dataclass(frozen=True, slots=True, kw_only=True)
class Defences:
    """What is trained and put before it.

    Attributes:
        architecture: of the classifier, plain and hardened.
        config: how both are trained.
        classes: a name for each class.
        adversary: what the hardened one is trained against.
        false_alarm_rate: of the monitor, in (0, 1).
        least_count: how often a training word occurs to be one that spelling corrects towards.
    """

    architecture: TextArchitecture
    config: TextConfig
    classes: Sequence[str]
    adversary: WorstOfSome
    false_alarm_rate: float = 0.05
    least_count: int = 2

    def pipelines(
        self, texts: Inputs, labels: npt.NDArray[np.int64], *, calibration: Inputs, seeds: Seeds
    ) -> dict[str, Predictor]:
        """The defences by name, the undefended model first.

        Args:
            texts: for training, and for the known words.
            labels: their classes.
            calibration: harmless texts of the same source that are not among `texts`, for the monitor.
            seeds: of the training.
        """
        plain = TextPredictor(self.train(texts, labels, seeds=seeds))
        hard = TextPredictor(self.train(texts, labels, seeds=seeds, adversary=self.adversary))
        normalise, spelling = Normalise(), Spelling.of(texts, least_count=self.least_count)
        everything = Spelling.of(texts, least_count=1)  # a word seen once is a known word all the same
        monitor = TextMonitor.fit(calibration, known=everything.known, false_alarm_rate=self.false_alarm_rate)
        return {
            "none": plain,
            "normalise": Defended(plain, [normalise]),
            "spelling": Defended(plain, [spelling]),
            "normalise, spelling": Defended(plain, [normalise, spelling]),
            "hardened": hard,
            "hardened, normalise, spelling": Defended(hard, [normalise, spelling]),
            "monitor": Defended(plain, [], monitor=monitor),
            "everything": Defended(hard, [normalise, spelling], monitor=monitor),
        }

    def train(
        self, texts: Inputs, labels: npt.NDArray[np.int64], *, seeds: Seeds, adversary: Adversary | None = None
    ) -> TextModel:
        """One model of the recipe, plain or hardened, from the same first weights.

        Args:
            texts: for training.
            labels: their classes.
            seeds: of the training.
            adversary: what it is trained against; None trains the plain model.
        """
        return train_text(
            texts,
            labels,
            architecture=self.architecture,
            classes=self.classes,
            config=self.config,
            seeds=seeds.child("model"),
            adversary=adversary,
        )
