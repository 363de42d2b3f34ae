"""What robust training tells about itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from wardline.robust.training.config import RobustConfig

Ending: TypeAlias = Literal["complete", "patience", "overfitting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the rows that were kept out of training.

    Attributes:
        epoch: when, in passes over the rows; parts of an epoch count.
        loss: the mean loss of training since the look before.
        clean: how many rows were classified correctly.
        one_step: how many still were after one step of the whole radius and no random start.
        robust: how many still were after projected gradient ascent; for ``noise``: under one draw of the noise.
        rows: how many there are.
    """

    epoch: float
    loss: float
    clean: int
    one_step: int
    robust: int
    rows: int

    def collapsed(self) -> bool:
        """Whether this is catastrophic overfitting: one step is withstood, and several steps are not.

        That is so where less than half of the rows that withstand one step withstand several, and a fifth of all rows
        tells the two apart: far more than chance does among a hundred rows or more.

        References:
            Wong, Rice and Kolter 2020, section 5.4.
        """
        return 2 * self.robust < self.one_step and 5 * (self.one_step - self.robust) > self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustTraining:
    """The record of a training: enough to repeat it, and to see how its weights were chosen.

    The figures of `looks` chose the released weights, so the chosen one's flatter them: judge a model on other rows.

    Attributes:
        config: the settings.
        seed: the root of the seeds.
        rows: rows trained on.
        looks: what was found on the rows kept out, in order.
        chosen: the index of the look whose weights were released.
        ending: ``complete``; ``patience``, which is early stopping (Rice et al. 2020); or ``overfitting``, which is
            catastrophic overfitting found by the guard: training was given up, and weights from before were released.
        cpu_seconds: processor time of the whole.
    """

    config: RobustConfig
    seed: int
    rows: int
    looks: tuple[Look, ...]
    chosen: int
    ending: Ending
    cpu_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        look = self.looks[self.chosen]
        ending = {
            "complete": "",
            "patience": ", ended early",
            "overfitting": ", given up: catastrophic overfitting, earlier weights released",
        }[self.ending]
        return (
            f"{self.config.method}: epoch {look.epoch:g}, {look.clean}/{look.rows} clean and "
            f"{look.robust}/{look.rows} robust on rows kept out{ending}"
        )
