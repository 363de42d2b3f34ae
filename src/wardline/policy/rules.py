"""The `gates` and `waivers` parts: when the result is good enough, and who accepts what is not."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from wardline.policy.fields import Part, Share, Text, refusal, show

Method: TypeAlias = Literal["loss", "rmia", "lira"]
"""Ways to infer membership."""

AccuracyLimit: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class ClaimsHold(Part):
    """No measured lower bound lies above what was claimed. Needs an audit. Cannot be waived."""

    rule: Literal["claims-hold"] = Field(description="no measurement contradicts a claim", examples=["claims-hold"])


class Accuracy(Part):
    """The released model is accurate enough on units that it was not trained on."""

    rule: Literal["accuracy"] = Field(description="the released model is useful", examples=["accuracy"])
    at_least: AccuracyLimit = Field(
        description="the lowest accuracy that passes, as a share of correct predictions", examples=[0.835]
    )


class BaselineAccuracy(Part):
    """The same model without protection is accurate enough to be a fair comparison."""

    rule: Literal["baseline-accuracy"] = Field(
        description="the unprotected twin is a fair baseline", examples=["baseline-accuracy"]
    )
    at_least: AccuracyLimit = Field(
        description="the lowest accuracy of the unprotected twin that passes, as a share of correct predictions",
        examples=[0.845],
    )


class PriceOfPrivacy(Part):
    """Protection costs little accuracy: that of the unprotected twin minus that of the released model."""

    rule: Literal["price-of-privacy"] = Field(
        description="protection costs little accuracy", examples=["price-of-privacy"]
    )
    at_most: float = Field(
        ge=0, lt=1, description="the largest loss of accuracy that passes, as a difference of shares", examples=[0.02]
    )


class MembershipTpr(Part):
    """Membership inference recognises few members at a low rate of false alarms. Needs a membership attack."""

    rule: Literal["membership-tpr"] = Field(
        description="few members are recognised with confidence", examples=["membership-tpr"]
    )
    at_fpr: Share = Field(
        description="the false-positive rate at which it is measured: the share of outsiders taken for members; "
        "one of the attack's fpr",
        examples=[0.01],
    )
    at_most: Share = Field(
        description="the largest true-positive rate that passes: the share of members recognised; not below at_fpr, "
        "which a blind guess reaches",
        examples=[0.05],
    )
    method: Method | None = Field(
        default=None,
        description="the method it is about, one of the attack's methods; without it, every method counts",
        examples=["lira"],
    )


class MembershipAuc(Part):
    """Membership inference is on average hardly better than guessing. Needs a membership attack."""

    rule: Literal["membership-auc"] = Field(
        description="membership is on average hardly recognised", examples=["membership-auc"]
    )
    at_most: float = Field(
        ge=0.5, lt=1, description="the largest area under the ROC curve that passes; 0.5 is guessing", examples=[0.55]
    )


Gate: TypeAlias = ClaimsHold | Accuracy | BaselineAccuracy | PriceOfPrivacy | MembershipTpr | MembershipAuc
"""One condition of passing."""

TaggedGate: TypeAlias = Annotated[Gate, Field(discriminator="rule")]


def _date(value: Any) -> Any:
    """YAML 1.2 has no dates, so a date arrives as text; only the one unambiguous form is taken."""
    if isinstance(value, datetime.datetime):
        raise refusal("must be a date without a time of day", "write YYYY-MM-DD, for example 2027-06-30")
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError as error:
            raise refusal(
                f"{show(value)} is not in the calendar", "write YYYY-MM-DD, for example 2027-06-30"
            ) from error
    raise refusal(f"must be a date, not {show(value)}", "write YYYY-MM-DD, for example 2027-06-30")


def _waivable(value: Any) -> Any:
    if value == "claims-hold":
        raise refusal(
            "claims-hold cannot be waived: a broken claim is a defect", "find the defect, and remove the waiver"
        )
    return value


class Waiver(Part):
    """A rule that a named person lets fail for a while. Shown in red in the report.

    Whether it has expired depends on the day, so that is checked when the plan is made and by the gate.
    """

    rule: Annotated[
        Literal["accuracy", "attacks-ran", "baseline-accuracy", "membership-auc", "membership-tpr", "price-of-privacy"],
        BeforeValidator(_waivable),
    ] = Field(
        description="the waived rule: one of gates, or attacks-ran, which every run is held to; "
        "claims-hold cannot be waived",
        examples=["accuracy"],
    )
    who: Text = Field(
        description="the person who answers for it, with an address", examples=["A. Person <a@b.example>"]
    )
    why: Text = Field(description="the reason, for those who read the report", examples=["pilot only"])
    until: Annotated[datetime.date, BeforeValidator(_date)] = Field(
        description="the last day on which it holds, YYYY-MM-DD", examples=["2027-06-30"]
    )
