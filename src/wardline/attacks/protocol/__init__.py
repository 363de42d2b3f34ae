"""What every attack shares: targets that count questions, budgets, results with intervals, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.protocol.attack import Attack, AttackEntry
    from wardline.attacks.protocol.conformance import AttackConformance, Subject, attack_conformance
    from wardline.attacks.protocol.derived_spec import spec_from_examples
    from wardline.attacks.protocol.examination import preflight, with_checks
    from wardline.attacks.protocol.examples import Batch, ExampleAttack, Labelled, attack_examples
    from wardline.attacks.protocol.ledger import BudgetSpent, QueryLedger, ServiceLost
    from wardline.attacks.protocol.opening import open_target
    from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
    from wardline.attacks.protocol.spec import InputSpec, Spec, TextSpec
    from wardline.attacks.protocol.target import Access, AccessDenied, Target

__all__ = [
    "Access",
    "AccessDenied",
    "Attack",
    "AttackConformance",
    "AttackEntry",
    "AttackResult",
    "Batch",
    "Budget",
    "BudgetSpent",
    "Check",
    "ExampleAttack",
    "InputSpec",
    "Labelled",
    "QueryLedger",
    "ServiceLost",
    "Spec",
    "Subject",
    "Target",
    "TextSpec",
    "Threat",
    "attack_conformance",
    "attack_examples",
    "open_target",
    "preflight",
    "spec_from_examples",
    "with_checks",
]

__getattr__ = lazy(
    __name__,
    {
        "attack": ("Attack", "AttackEntry"),
        "conformance": ("AttackConformance", "Subject", "attack_conformance"),
        "derived_spec": ("spec_from_examples",),
        "examination": ("preflight", "with_checks"),
        "examples": ("Batch", "ExampleAttack", "Labelled", "attack_examples"),
        "ledger": ("BudgetSpent", "QueryLedger", "ServiceLost"),
        "opening": ("open_target",),
        "result": ("AttackResult", "Budget", "Check", "Threat"),
        "spec": ("InputSpec", "Spec", "TextSpec"),
        "target": ("Access", "AccessDenied", "Target"),
    },
    extra="torch",
)
