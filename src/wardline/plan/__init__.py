"""Room `plan`: a policy, resolved against the facts of its data."""

from wardline.plan.cost import expected_seconds
from wardline.plan.plan import AuditStep, DataFacts, MembershipStep, NotAssessed, Plan, Step
from wardline.plan.resolve import contract_of, resolve

__all__ = [
    "AuditStep",
    "DataFacts",
    "MembershipStep",
    "NotAssessed",
    "Plan",
    "Step",
    "contract_of",
    "expected_seconds",
    "resolve",
]
