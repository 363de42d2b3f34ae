"""How robust training goes: the method, the changes it trains against, and how weights are fitted and chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

from wardline.core.checks import at_least, positive, probability
from wardline.models.architecture import Architecture, Cnn, Logistic, Mlp, ResNet
from wardline.robust.ball import Ball

Method: TypeAlias = Literal["plain", "noise", "fgsm-rs", "pgd", "trades"]
METHODS: tuple[Method, ...] = ("plain", "noise", "fgsm-rs", "pgd", "trades")

Precision: TypeAlias = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How the worst change of an input is looked for at every training step.

    Attributes:
        steps: gradient steps, at least 1. `fgsm-rs` is one step by definition.
        step: length of each, in the unit of the inputs, above 0.
        random_start: whether to start at a change drawn from the ball rather than at none. A single step without it is
            known to end in catastrophic overfitting (Wong et al. 2020); the choice is here to show that.
    """

    steps: int
    step: float
    random_start: bool = True

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        positive("step", self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How weights are fitted, whatever inputs they see: AdamW with a learning rate that rises, then falls to 0.

    On CIFAR-10, with a small residual network and a single step against 8/255, it was ahead of momentum from the
    start: 0.264 of 250 images withstood five steps after 2.5 epochs, and 0.232 with momentum at a learning rate of 0.1
    (one run each).

    Attributes:
        batch: rows in a step, at least 1.
        epochs: passes over the rows, at least 1.
        learning_rate: the highest one, above 0.
        rise: the share of all steps in which it rises, in (0, 1).
        weight_decay: decoupled (Loshchilov and Hutter 2019), of matrices and convolutions, not of biases and scales; at
            least 0.
        gradient_norm: longer gradients of a batch are cut to this length, above 0; 0 cuts none.
        average: the weights that are looked at and released are a running mean, which at every step keeps this share
            of what it was, in [0, 1); 0 takes the weights as they are.
        precision: of products during training; sums, weights and released parameters are 32-bit in any case.
    """

    batch: int
    epochs: int
    learning_rate: float
    rise: float = 0.3
    weight_decay: float = 0.05
    gradient_norm: float = 1.0
    average: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 1)
        at_least("epochs", self.epochs, 1)
        positive("learning_rate", self.learning_rate)
        probability("rise", self.rise)
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be at least 0 and below 1, not {self.average}")
        for name in ("weight_decay", "gradient_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, not {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Images as they might also have been: mirrored in half of the cases, and moved.

    Attributes:
        shape: channels, height and width of the images that the rows are.
        mirror: whether left and right may change places; not for digits or letters.
        shift: the most pixels that an image moves in each direction; what moves in is 0. At least 0.
    """

    shape: tuple[int, int, int]
    mirror: bool
    shift: int

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError("shape has three sizes of at least 1: channels, height, width")
        at_least("shift", self.shift, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Looks at rows that are kept out of training: which weights are released, and whether training goes wrong.

    Attributes:
        rows: rows kept out, at least 1.
        each_epoch: looks in an epoch, evenly spread, at least 1.
        steps: steps of the projected gradient ascent that they are attacked with, at least 1.
        patience: end after so many looks in a row that found nothing better, at least 1; None goes on to the end.
    """

    rows: int
    each_epoch: int = 1
    steps: int = 10
    patience: int | None = None

    def __post_init__(self) -> None:
        at_least("rows", self.rows, 1)
        at_least("each_epoch", self.each_epoch, 1)
        at_least("steps", self.steps, 1)
        if self.patience is not None:
            at_least("patience", self.patience, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustConfig:
    """The parameters of robust training; `default_robust_config` derives them.

    Attributes:
        method: ``plain`` (no defence, the twin to compare with), ``noise`` (Gaussian noise on every input, Cohen et al.
            2019), ``fgsm-rs`` (one step from a random start, Wong et al. 2020), ``pgd`` (several steps, Madry et al.
            2018) or ``trades`` (Zhang et al. 2019).
        ball: the changes to withstand, ``linf`` or ``l2``, with a radius above 0. ``plain`` and ``noise`` are only
            looked at under it.
        search: how the worst change is looked for; ``plain`` and ``noise`` do not use it.
        fit: how weights are fitted.
        checks: which weights are released.
        bounds: the least and largest value that an input may have, or None where it may have any.
        augmentation: for images; None leaves rows as they are.
        strength: ``trades``: the weight of the term of robustness (beta, above 0); ``noise``: its standard deviation
            in the unit of the inputs (sigma, above 0); 0 for the others.

    Raises:
        ValueError: for a figure out of range, or settings that do not fit together.
    """

    method: Method
    ball: Ball
    search: Search
    fit: Fit
    checks: Checks
    bounds: tuple[float, float] | None = (0.0, 1.0)
    augmentation: Augmentation | None = None
    strength: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}")
        if self.ball.norm not in ("linf", "l2") or self.ball.radius <= 0:
            raise ValueError("robust training needs a ball of norm linf or l2 with a radius above 0")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError("bounds are a least and a larger value")
        if self.method == "fgsm-rs" and self.search.steps != 1:
            raise ValueError("fgsm-rs takes a single step: choose pgd for more")
        if self.method == "trades" and not self.search.random_start:
            # At the input itself both answers agree, and what separates them has no slope.
            raise ValueError("trades needs a random start: at the input itself it has nothing to follow")
        shifted = self.augmentation is not None and self.augmentation.shift > 0
        if shifted and self.bounds is not None and not self.bounds[0] <= 0 <= self.bounds[1]:
            raise ValueError("what moves in beside an image is 0, which these bounds do not allow")
        if self.method in ("trades", "noise"):
            positive("strength", self.strength)
        elif self.strength != 0:
            raise ValueError(f"{self.method} has no strength")


def default_robust_config(
    method: Method,
    *,
    ball: Ball,
    n_rows: int,
    architecture: Architecture,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    augmentation: Augmentation | None = None,
) -> RobustConfig:
    """Settings that work without a search, derived from data, network and ball.

    `fgsm-rs` steps 1.25 times the radius (Wong et al. 2020, section 4), `pgd` three times half the radius, so that the
    time goes into epochs; `trades` the same at strength 6 (Zhang et al. 2019, table 5). `noise` draws with a standard
    deviation of the radius. The learning rate is 0.01, and 0.003 for a `ResNet` on 10,000 rows or more.

    Args:
        method: see `RobustConfig`.
        ball: the changes to withstand.
        n_rows: rows that there are, at least 10.
        architecture: what is trained.
        bounds: see `RobustConfig`.
        augmentation: see `RobustConfig`.

    Raises:
        ValueError: for fewer than ten rows, or what `RobustConfig` refuses.
    """
    at_least("n_rows", n_rows, 10)
    held = min(1000, max(1, n_rows // 10))
    batch = max(1, min(128, (n_rows - held) // 8))
    match architecture:
        case Logistic() | Mlp() | Cnn():
            rate, steps = 1e-2, 3000
        case ResNet():
            rate, steps = 1e-2 if n_rows < 10_000 else 3e-3, 6000
        case _:
            assert_never(architecture)
    epochs = min(60, max(10, round(steps * batch / n_rows)))
    search = (
        Search(steps=1, step=1.25 * ball.radius)
        if method == "fgsm-rs"
        else Search(steps=3, step=0.5 * ball.radius)
    )  # fmt: skip
    return RobustConfig(
        method=method,
        ball=ball,
        search=search,
        fit=Fit(batch=batch, epochs=epochs, learning_rate=rate),
        checks=Checks(rows=held),
        bounds=bounds,
        augmentation=augmentation,
        strength={"trades": 6.0, "noise": ball.radius}.get(method, 0.0),
    )
