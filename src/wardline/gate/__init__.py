"""Room `gate`: rules that set measurements beside claims, and the three-valued verdict."""

from wardline.gate.judge import GateResult, Waiver, judge
from wardline.gate.rules import (
    RULES,
    Accuracy,
    AttacksRan,
    BaselineAccuracy,
    ClaimsHold,
    Judgement,
    MembershipAuc,
    MembershipTpr,
    PriceOfPrivacy,
    Rule,
)

__all__ = [
    "RULES",
    "Accuracy",
    "AttacksRan",
    "BaselineAccuracy",
    "ClaimsHold",
    "GateResult",
    "Judgement",
    "MembershipAuc",
    "MembershipTpr",
    "PriceOfPrivacy",
    "Rule",
    "Waiver",
    "judge",
]
