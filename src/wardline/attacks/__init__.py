"""Room `attacks`: every way that we know to break a model, and audits of what privacy mechanisms promise.

What all attacks share is offered here; each family has a surface of its own: `attacks.evasion`, `.text`, `.backdoors`,
`.membership`, `.reconstruction`, `.extraction`. Names are loaded when first used, so that importing the room does not
load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.auditing.canaries import audit_settings
    from wardline.attacks.auditing.mechanism_audit import audit_mechanism
    from wardline.attacks.auditing.mechanism_conformance import (
        CheckResult,
        Conformance,
        MechanismUnderTest,
        conformance,
    )
    from wardline.attacks.auditing.one_run import (
        Guesses,
        audit_p_value,
        canaries_needed,
        epsilon_lower_bound,
        largest_bound,
    )
    from wardline.attacks.auditing.synthesis import Neighbours, audit_synthesis, bootstrap, rarest_row
    from wardline.attacks.auditing.training import AuditDesign, audit_training
    from wardline.attacks.catalogue import find_attack, known_attacks
    from wardline.attacks.intervals import auc_interval, clopper_pearson
    from wardline.attacks.membership.control import memorise
    from wardline.attacks.membership.inference import MembershipSettings, Model, infer_membership
    from wardline.attacks.membership.scores import lira_scores, loss_scores, rmia_scores, scaled_confidence
    from wardline.attacks.membership.shadow import ReferenceRecipe, balanced_design
    from wardline.attacks.protocol.attack import Attack, AttackEntry
    from wardline.attacks.protocol.derived_spec import spec_from_examples
    from wardline.attacks.protocol.examination import preflight
    from wardline.attacks.protocol.examples import Labelled, attack_examples
    from wardline.attacks.protocol.ledger import QueryLedger
    from wardline.attacks.protocol.opening import open_target
    from wardline.attacks.protocol.result import AttackResult, Budget, Threat
    from wardline.attacks.protocol.spec import InputSpec, TextSpec
    from wardline.attacks.protocol.target import Access, Target
    from wardline.attacks.roc import Roc, TprAtFpr, roc_curve, tpr_at_fpr

__all__ = [
    "Access",
    "Attack",
    "AttackEntry",
    "AttackResult",
    "AuditDesign",
    "Budget",
    "CheckResult",
    "Conformance",
    "Guesses",
    "InputSpec",
    "Labelled",
    "MechanismUnderTest",
    "MembershipSettings",
    "Model",
    "Neighbours",
    "QueryLedger",
    "ReferenceRecipe",
    "Roc",
    "Target",
    "TextSpec",
    "Threat",
    "TprAtFpr",
    "attack_examples",
    "auc_interval",
    "audit_mechanism",
    "audit_p_value",
    "audit_settings",
    "audit_synthesis",
    "audit_training",
    "balanced_design",
    "bootstrap",
    "canaries_needed",
    "clopper_pearson",
    "conformance",
    "epsilon_lower_bound",
    "find_attack",
    "infer_membership",
    "known_attacks",
    "largest_bound",
    "lira_scores",
    "loss_scores",
    "memorise",
    "open_target",
    "preflight",
    "rarest_row",
    "rmia_scores",
    "roc_curve",
    "scaled_confidence",
    "spec_from_examples",
    "tpr_at_fpr",
]

__getattr__ = lazy(
    __name__,
    {
        "auditing.canaries": ("audit_settings",),
        "auditing.mechanism_audit": ("audit_mechanism",),
        "auditing.mechanism_conformance": ("CheckResult", "Conformance", "MechanismUnderTest", "conformance"),
        "auditing.one_run": ("Guesses", "audit_p_value", "canaries_needed", "epsilon_lower_bound", "largest_bound"),
        "auditing.synthesis": ("Neighbours", "audit_synthesis", "bootstrap", "rarest_row"),
        "auditing.training": ("AuditDesign", "audit_training"),
        "catalogue": ("find_attack", "known_attacks"),
        "intervals": ("auc_interval", "clopper_pearson"),
        "membership.control": ("memorise",),
        "membership.inference": ("MembershipSettings", "Model", "infer_membership"),
        "membership.scores": ("lira_scores", "loss_scores", "rmia_scores", "scaled_confidence"),
        "membership.shadow": ("ReferenceRecipe", "balanced_design"),
        "protocol.attack": ("Attack", "AttackEntry"),
        "protocol.derived_spec": ("spec_from_examples",),
        "protocol.examination": ("preflight",),
        "protocol.examples": ("Labelled", "attack_examples"),
        "protocol.ledger": ("QueryLedger",),
        "protocol.opening": ("open_target",),
        "protocol.result": ("AttackResult", "Budget", "Threat"),
        "protocol.spec": ("InputSpec", "TextSpec"),
        "protocol.target": ("Access", "Target"),
        "roc": ("Roc", "TprAtFpr", "roc_curve", "tpr_at_fpr"),
    },
    extra="torch",
)
