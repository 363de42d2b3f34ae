"""A watermark: inputs with secret classes that a model was taught, and a test whether another model knows them.

The classes are drawn uniformly from a secret key. So a model that was made without the key agrees with each of them
with probability 1 / classes exactly, whatever the model is, and the number of agreements is binomial. That makes the
test exact, with no assumption about models; what it needs is that the key was fixed before the accused model was known,
which a commitment that was published in time shows.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from wardline.core.checks import at_least, probability
from wardline.data import Examples
from wardline.models.predictor import Inputs, Predictor, labels_of

_KEY_BYTES = 32
_DOMAIN = b"wardline-watermark/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watermark:
    """Inputs and the classes that only a marked model gives them.

    Attributes:
        x: the inputs, [rows, ...].
        y: their secret classes, int64 [rows].
        classes: how many classes there are, at least 2.
        commitment: 64 hexadecimal digits that bind the owner to the key and the inputs, and tell nothing about them.
    """

    x: Inputs = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)
    classes: int
    commitment: str

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The outcome of the test.

    Attributes:
        agreements: how many of the secret classes the accused model gives.
        trials: how many there are.
        p_value: the probability that a model made without the key agrees that often or more.
        proven: whether it is at most the level that was asked for.
    """

    agreements: int
    trials: int
    p_value: float
    proven: bool

    def __str__(self) -> str:
        verdict = "knows the watermark" if self.proven else "not shown to know the watermark"
        return f"{self.agreements} of {self.trials} agree, p = {self.p_value:.3g}: {verdict}"


def make_watermark(key: bytes, inputs: Inputs, *, classes: int) -> Watermark:
    """Give inputs secret classes.

    What the inputs are decides what the watermark survives, not whether the test is right: natural inputs that the
    owner keeps to himself, or drawn ones (`noise_inputs`).

    Args:
        key: 32 bytes that nobody else knows, from `wardline.core.SecureRandom`.
        inputs: [rows, ...], float32, at least one.
        classes: of the model, at least 2.

    Raises:
        ValueError: for a key of another length, no inputs or less than two classes.
    """
    at_least("classes", classes, 2)
    if len(key) != _KEY_BYTES:
        raise ValueError(f"a key has {_KEY_BYTES} bytes")
    if not len(inputs) or inputs.dtype != np.float32:
        raise ValueError("inputs must be float32 rows, at least one")
    x = np.ascontiguousarray(inputs)
    public = _DOMAIN + repr((x.shape, classes)).encode() + hashlib.sha256(x.tobytes()).digest()
    # 64 bits a class: the remainder is uniform up to 2**-60.
    stream = hashlib.shake_256(hmac.digest(key, b"classes" + public, "sha256")).digest(8 * len(x))
    y = (np.frombuffer(stream, dtype=">u8") % np.uint64(classes)).astype(np.int64)
    return Watermark(x=x, y=y, classes=classes, commitment=hmac.digest(key, b"commitment" + public, "sha256").hex())


def noise_inputs(key: bytes, shape: tuple[int, ...], *, count: int, low: float = 0.0, high: float = 1.0) -> Inputs:
    """Inputs of uniform noise that follow from the key: easy to learn, and easy to filter out.

    Args:
        key: 32 secret bytes.
        shape: of one input.
        count: how many, at least 1.
        low: the least value.
        high: the greatest value.

    Raises:
        ValueError: for a key of another length, no inputs or bounds that are not in order.
    """
    at_least("count", count, 1)
    if len(key) != _KEY_BYTES or not low < high:
        raise ValueError(f"a key has {_KEY_BYTES} bytes, and low lies below high")
    numbers = count * int(np.prod(shape))
    stream = hashlib.shake_256(hmac.digest(key, b"inputs" + _DOMAIN, "sha256")).digest(4 * numbers)
    uniform = np.frombuffer(stream, dtype=">u4").astype(np.float64) / 2.0**32
    drawn: npt.NDArray[np.float32] = (low + uniform * (high - low)).astype(np.float32).reshape(count, *shape)
    return np.minimum(drawn, np.float32(high))


def with_watermark(examples: Examples, watermark: Watermark, *, repeats: int = 1) -> Examples:
    """Training data with the watermark's rows among them, each as a privacy unit of its own.

    Args:
        examples: the training data.
        watermark: of flat rows.
        repeats: how often each of its rows occurs, at least 1; more where a model of few steps must learn it.

    Raises:
        ValueError: if they do not fit together.
    """
    at_least("repeats", repeats, 1)
    if watermark.x.shape[1:] != examples.x.shape[1:] or watermark.classes != len(examples.classes):
        raise ValueError("watermark and data must have the same columns and classes")
    units = examples.n_units + np.tile(np.arange(len(watermark), dtype=np.int64), repeats)
    return Examples(
        x=np.concatenate([examples.x, np.tile(watermark.x, (repeats, 1))]),
        y=np.concatenate([examples.y, np.tile(watermark.y, repeats)]),
        unit=np.concatenate([examples.unit, units]),
        features=examples.features,
        classes=examples.classes,
    )


def verify_watermark(
    accused: Predictor, key: bytes, inputs: Inputs, *, commitment: str, level: float = 1e-9
) -> Ownership:
    """Test whether a model knows a watermark.

    Guarantee: for any model that does not depend on the key, the probability of `proven` is at most `level` (an exact
    one-sided binomial test). The commitment must have been published, with a date, before the model was known to the
    accuser: somebody who may try m keys afterwards finds one with p of about 1 / m.

    That a model does not show a watermark proves nothing: it can be removed, and a copy made from answers about
    other inputs need never have learned it.

    Args:
        accused: the model.
        key: the secret key, now revealed to the judge.
        inputs: the inputs, likewise.
        commitment: what was published.
        level: the probability of a false accusation that is accepted, in (0, 1).

    Raises:
        ValueError: if key and inputs are not those that were committed to, or the level is out of range.
    """
    probability("level", level)
    watermark = make_watermark(key, inputs, classes=accused.classes)
    if not hmac.compare_digest(watermark.commitment.encode(), commitment.encode()):
        raise ValueError("key and inputs are not those that were committed to")
    labels = labels_of(accused.answer(watermark.x), accused.gives)
    agreements = int((labels == watermark.y).sum())
    p_value = float(binom.sf(agreements - 1, len(watermark), 1 / watermark.classes))
    return Ownership(agreements=agreements, trials=len(watermark), p_value=p_value, proven=p_value <= level)
