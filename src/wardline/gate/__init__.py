"""Room `gate`: rules that set measurements beside claims, and the three-valued verdict."""

from wardline.gate.attacks import AttackControl, judge_attack, judge_audit
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
    "AttackControl",
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
    "judge_attack",
    "judge_audit",
]
