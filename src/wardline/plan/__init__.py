"""Room `plan`: a policy, resolved against the facts of its data.

Names are loaded when first used: a table release (`resolve_release`, not named here) does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.plan.cost import expected_seconds
    from wardline.plan.plan import AuditStep, DataFacts, MembershipStep, NotAssessed, Plan, Step
    from wardline.plan.resolve_policy import contract_of, resolve

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

__getattr__ = lazy(
    __name__,
    {
        "cost": ("expected_seconds",),
        "plan": ("AuditStep", "DataFacts", "MembershipStep", "NotAssessed", "Plan", "Step"),
        "resolve_policy": ("contract_of", "resolve"),
    },
    extra="dp",
)
