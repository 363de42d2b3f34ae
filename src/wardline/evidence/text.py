"""Wording of the report: figures, names and sentences for a reader who is not a specialist.

Everything that enters the page passes through `clean`; escaping of markup is the template's duty.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from wardline.core.claims import Claim, Interval, Measurement
from wardline.core.drawing.hostile import shorten
from wardline.core.verdict import Verdict

NBSP = "\u00a0"

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def number(value: float, *, digits: int = 4) -> str:
    """A number for people: thousands separated, `digits` significant digits, powers of ten spelled out."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace("-", "\u2212")
    if 1e-4 <= abs(value) < 1e9:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return _trim(f"{value:,.{places}f}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = _trim(mantissa)
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}{NBSP}\u00d7{NBSP}{power}"


def _trim(figure: str) -> str:
    """Drop the zeros that end a decimal fraction, and write the sign as a minus."""
    if "." in figure:
        figure = figure.rstrip("0").rstrip(".")
    return figure.replace("-", "\u2212")


def percent(share: float, *, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage; small ones keep two significant digits."""
    hundred = 100.0 * share
    if 0 < abs(hundred) < 1:
        digits = max(digits, 1 - math.floor(math.log10(abs(hundred))))
    return f"{_trim(f'{hundred:.{digits}f}')}{NBSP}%"


def one_in(prob: float) -> str:
    """A small probability as ``1 in 100,000``."""
    return f"1 in {number(float(f'{1 / prob:.3g}'))}" if 1e-300 < prob < 1 else number(prob)


def privacy_loss(epsilon: float, delta: float) -> str:
    """A pair of epsilon and delta, with delta in words as well."""
    return f"\u03b5 {number(epsilon)}, \u03b4 {number(delta)}" + (f" ({one_in(delta)})" if 0 < delta < 1 else "")


def sureness(epsilon: float, delta: float = 0.0, *, upper: bool = True) -> str:
    """How often a guess from 50:50 can come out right at most, in percent.

    Under (epsilon, delta) differential privacy no test tells two neighbouring data sets apart, each of
    them equally likely, with success above (e^epsilon + delta) / (1 + e^epsilon).

    Args:
        epsilon: of the guarantee; below 0 counts as 0.
        delta: of the guarantee, in [0, 1].
        upper: round up, as an upper bound asks for; otherwise down.

    References:
        Kairouz, Oh, Viswanath 2015, theorem 2.1 (the privacy region, from which the figure follows).
    """
    epsilon = max(epsilon, 0.0)
    share = (1.0 + delta * math.exp(-epsilon)) / (1.0 + math.exp(-epsilon))
    for digits in range(1, 7):
        scale = 10.0**digits
        exact = 100.0 * share * scale
        rounded = (math.ceil(exact - 1e-9) if upper else math.floor(exact + 1e-9)) / scale
        if rounded < 100:
            return f"{rounded:.{digits}f}{NBSP}%"
    return f"100{NBSP}%"


def moment(created: str) -> str:
    """A time stamp of the evidence for people, in UTC.

    Raises:
        ValueError: if it is no ISO 8601 time with its zone.
    """
    time = datetime.fromisoformat(created)
    if time.tzinfo is None:
        raise ValueError("a time stamp needs its zone")
    time = time.astimezone(UTC)
    return f"{time.day} {_MONTHS[time.month - 1]} {time:%Y, %H:%M} UTC"


def duration(seconds: float) -> str:
    """A duration in seconds for people."""
    if seconds < 120:
        return f"{number(round(seconds, 1 if seconds < 10 else 0))}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes}{NBSP}min" if hours else f"{minutes}{NBSP}min {rest}{NBSP}s"


def plain(value: Any) -> str:
    """A small JSON value as words: lists with commas, objects as ``name: value``."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value)
        case Mapping():
            names = sorted(value, key=lambda name: (name != "kind", name))
            return "; ".join(f"{name}: {plain(value[name])}" for name in names) or "none"
        case list() | tuple():
            return ", ".join(plain(item) for item in value) or "none"
        case _:
            return str(value)


# --- names of what was measured -----------------------------------------------------------------------

_METHODS = {"loss": "LOSS", "rmia": "RMIA", "lira": "LiRA"}
_SUBJECTS = {
    "released": "the released model",
    "audit twin": "a twin trained the same way, with planted canaries",
    "baseline": "the model without protection",
}


def false_alarms(quantity: str) -> float | None:
    """The false-positive rate that a quantity such as ``tpr_at_fpr_0.01`` is measured at."""
    found = re.fullmatch(r"tpr_at_fpr_(0\.\d{1,9}|1e-\d)", quantity)
    return float(found[1]) if found else None


def is_probability(value: object) -> bool:
    """Whether a JSON value is a number in [0, 1]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def is_share(quantity: str) -> bool:
    """Whether a quantity is a share that reads best as a percentage."""
    return quantity == "accuracy" or false_alarms(quantity) is not None


def figure(quantity: str, value: float) -> str:
    """A value in the way its quantity is written."""
    return percent(value) if is_share(quantity) else number(value, digits=3)


def quantity_name(quantity: str) -> str:
    """What a quantity is called in a sentence."""
    rate = false_alarms(quantity)
    if rate is not None:
        return f"members found at {percent(rate)} false alarms"
    return {"auc": "area under the ROC curve", "accuracy": "right answers"}.get(quantity, quantity)


def method_name(measurement: Measurement) -> str:
    """A short name of the attack behind a measurement."""
    attack, _, rest = measurement.id.partition(".")
    name = rest.partition(".")[0]
    if attack == "membership" and name:
        return _METHODS.get(name, shorten(name, 18))
    return "Audit" if attack == "audit" else shorten(measurement.id, 18)


def subject_name(subject: str) -> str:
    """What was measured, in words."""
    return _SUBJECTS.get(subject, subject)


def bounded(measurement: Measurement) -> str:
    """The figure of a measurement with the word that its kind of bound asks for."""
    if measurement.value is None:
        return "no figure"
    word = {"lower": "at least ", "upper": "at most ", "estimate": ""}[measurement.bound]
    return word + figure(measurement.quantity, measurement.value)


def interval_kind(level: float, method: str) -> str:
    """Confidence and method of an interval."""
    return f"{percent(level)} confidence, {method}"


def between(quantity: str, interval: Interval, *, kind: bool = True) -> str:
    """An interval in words, with its confidence and method unless they are told elsewhere."""
    ends = f"{figure(quantity, interval.low)} to {figure(quantity, interval.high)}"
    return f"{ends} ({interval_kind(interval.level, interval.method)})" if kind else ends


# --- sentences ----------------------------------------------------------------------------------------


def unit_noun(unit: object) -> str:
    """Whom the guarantee protects, one of them."""
    return "record" if unit == "row" else "person"


def promise(claim: Claim, noun: str) -> str:
    """What a claim means for a person who is not a specialist."""
    if claim.quantity == "epsilon" and claim.direction == "at_most":
        delta = claim.parameters.get("delta", 0.0)
        return (
            f"Whoever guesses 50:50 whether a {noun} is in the data, and then studies what was released, "
            f"will be right at most {sureness(claim.value, float(delta))} of the time."
        )
    return claim.statement


def promise_in_short(claim: Claim, noun: str) -> str:
    """What a claim means, for a line below its figure."""
    if claim.quantity == "epsilon" and claim.direction == "at_most":
        most = sureness(claim.value, float(claim.parameters.get("delta", 0.0)))
        return f"A 50:50 guess whether a {noun} is in the data can come out right at most {most} of the time."
    return claim.statement


def _symbol(quantity: str) -> str:
    return "\u03b5 " if quantity == "epsilon" else ""


def promised_figure(claim: Claim) -> str:
    """The promised figure with its sign."""
    sign = "\u2264" if claim.direction == "at_most" else "\u2265"
    return f"{_symbol(claim.quantity)}{sign}{NBSP}{figure(claim.quantity, claim.value)}"


def symbolic(measurement: Measurement) -> str:
    """The measured figure with the sign of its kind of bound."""
    if measurement.value is None:
        return "no figure"
    sign = {"lower": f"\u2265{NBSP}", "upper": f"\u2264{NBSP}", "estimate": ""}[measurement.bound]
    return f"{_symbol(measurement.quantity)}{sign}{figure(measurement.quantity, measurement.value)}"


def finding_in_short(measurement: Measurement) -> str:
    """What a usable measurement says, for a line below its figure."""
    if measurement.quantity == "epsilon" and measurement.value is not None:
        share = sureness(measurement.value, upper=False)
        sentence = f"Proved by attack; {share} on the scale of the promise."
    else:
        sentence = finding(measurement)
    control = measurement.control
    if control is None:
        return sentence
    return f"{sentence} Where nothing protects, the attack reached {figure(measurement.quantity, control.value)}."


def finding(measurement: Measurement) -> str:
    """What a measurement says, in a sentence."""
    if measurement.value is None:
        return f"No figure: {measurement.refused}"
    if measurement.quantity == "epsilon" and measurement.bound == "lower":
        return (
            f"An attack on this training proved a leak of {bounded(measurement)}. On the scale of the promise: "
            f"{sureness(measurement.value, upper=False)}."
        )
    sentence = f"{quantity_name(measurement.quantity)}: {bounded(measurement)}"
    return sentence[:1].upper() + sentence[1:] + "."


def control_sentence(measurement: Measurement) -> str:
    """Whether the attack could find anything at all."""
    control = measurement.control
    if control is None:
        return "No control was made, so finding nothing would prove nothing."
    value = figure(measurement.quantity, control.value)
    need = figure(measurement.quantity, control.threshold)
    if control.passed:
        return f"Worked: where nothing protects, the same attack found {value} (it had to exceed {need})."
    return f"Failed: where nothing protects, the same attack found only {value} (it had to exceed {need})."


WORDS = {Verdict.PASS: "Pass", Verdict.FAIL: "Fail", Verdict.INCONCLUSIVE: "Inconclusive"}

MEANINGS = {
    Verdict.PASS: (
        "No measurement contradicted a promise and every rule of the policy held. "
        "That is no proof that a better attack would fail as well."
    ),
    Verdict.FAIL: "At least one rule of the policy was broken. Do not release this model as it is.",
    Verdict.INCONCLUSIVE: (
        "This is not a pass. At least one rule could not be decided, so nobody knows whether the promise "
        "holds. Treat it as a failure until it is repeated."
    ),
}

WAIVED_MEANING = (
    "No measurement contradicted a promise, but not every rule of the policy held: somebody answers for the rest "
    "by name, below."
)

CLAIM_OUTCOMES = {
    Verdict.PASS: "Tested, and not contradicted.",
    Verdict.FAIL: "Contradicted: the promise is broken.",
    Verdict.INCONCLUSIVE: "Not shown either way.",
}

MEASUREMENT_OUTCOMES = {
    Verdict.PASS: "usable",
    Verdict.FAIL: "contradicts the claim",
    Verdict.INCONCLUSIVE: "proves nothing",
}


def limits(unit: object, holdout_rows: int) -> tuple[tuple[str, str], ...]:
    """What the guarantee never covers, whatever was measured: heading and explanation."""
    always = (
        (
            "The figures in this report",
            "They come from the data without noise and are not covered by the guarantee. Treat the report as "
            "internal unless somebody has reviewed it for release.",
        ),
        (
            "The holdout rows",
            f"The {number(holdout_rows)} rows kept apart for measuring never entered the training. The guarantee "
            "speaks about training rows; what is shown here about the holdout is exact.",
        ),
        (
            "The column contract",
            "Names, ranges and allowed values of the columns are assumed to be public. If they were read off the "
            "data, that reading is not covered.",
        ),
        (
            "What holds for everybody",
            "The guarantee hides whether one individual took part. It does not hide what the data as a whole "
            "teach, even where that says something about an individual.",
        ),
        (
            "The place of training",
            "Whoever ran the training saw the data. The signature tells who vouches for the result, not that "
            "their machine was honest.",
        ),
        (
            "The digest of the data",
            "It commits to the data. Somebody who knows all rows but one can test guesses about that one against it.",
        ),
        (
            "Better attacks",
            "An attack bounds the leak from below. Only the theorem behind the claim, under its assumptions, "
            "bounds it from above.",
        ),
    )
    if unit != "row":
        return always
    rows = (
        "People with several rows",
        "The guarantee is for one row. Somebody with several rows is protected less the more rows they have.",
    )
    return (*always[:3], rows, *always[3:])
