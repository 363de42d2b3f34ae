"""Room `attacks`: membership inference and one-run privacy auditing, each with a positive control.

Names are loaded when first used, so that importing the room does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.audit import AuditDesign, audit_training
    from wardline.attacks.canaries import audit_settings
    from wardline.attacks.control import memorise
    from wardline.attacks.intervals import auc_interval, clopper_pearson
    from wardline.attacks.mechanism_audit import audit_mechanism
    from wardline.attacks.mechanism_conformance import Check, Conformance, Subject, conformance
    from wardline.attacks.membership_inference import MembershipSettings, Model, membership
    from wardline.attacks.one_run import (
        Guesses,
        audit_p_value,
        canaries_needed,
        epsilon_lower_bound,
        largest_bound,
    )
    from wardline.attacks.roc import Roc, TprAtFpr, roc_curve, tpr_at_fpr
    from wardline.attacks.scores import lira_scores, loss_scores, rmia_scores, scaled_confidence
    from wardline.attacks.shadow import ReferenceRecipe, Stack, balanced_design, train_stack
    from wardline.attacks.synthesis import Neighbours, audit_synthesis, bootstrap, rarest_row

__all__ = [
    "AuditDesign",
    "Check",
    "Conformance",
    "Guesses",
    "MembershipSettings",
    "Model",
    "Neighbours",
    "ReferenceRecipe",
    "Roc",
    "Stack",
    "Subject",
    "TprAtFpr",
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
    "largest_bound",
    "lira_scores",
    "loss_scores",
    "membership",
    "memorise",
    "rarest_row",
    "rmia_scores",
    "roc_curve",
    "scaled_confidence",
    "tpr_at_fpr",
    "train_stack",
]

__getattr__ = lazy(
    __name__,
    {
        "audit": (
            "AuditDesign",
            "audit_training",
        ),
        "canaries": ("audit_settings",),
        "control": ("memorise",),
        "intervals": (
            "auc_interval",
            "clopper_pearson",
        ),
        "mechanism_audit": ("audit_mechanism",),
        "mechanism_conformance": ("Check", "Conformance", "Subject", "conformance"),
        "membership_inference": (
            "MembershipSettings",
            "Model",
            "membership",
        ),
        "one_run": (
            "Guesses",
            "audit_p_value",
            "canaries_needed",
            "epsilon_lower_bound",
            "largest_bound",
        ),
        "roc": (
            "Roc",
            "TprAtFpr",
            "roc_curve",
            "tpr_at_fpr",
        ),
        "scores": (
            "lira_scores",
            "loss_scores",
            "rmia_scores",
            "scaled_confidence",
        ),
        "shadow": (
            "ReferenceRecipe",
            "Stack",
            "balanced_design",
            "train_stack",
        ),
        "synthesis": ("Neighbours", "audit_synthesis", "bootstrap", "rarest_row"),
    },
    extra="torch",
)
