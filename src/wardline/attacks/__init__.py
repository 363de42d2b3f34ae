"""Room `attacks`: membership inference and one-run privacy auditing, each with a positive control.

Names are loaded when first used, so that importing the room does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.auditing.canaries import audit_settings
    from wardline.attacks.auditing.mechanism_audit import audit_mechanism
    from wardline.attacks.auditing.mechanism_conformance import Check, Conformance, Subject, conformance
    from wardline.attacks.auditing.one_run import (
        Guesses,
        audit_p_value,
        canaries_needed,
        epsilon_lower_bound,
        largest_bound,
    )
    from wardline.attacks.auditing.synthesis import Neighbours, audit_synthesis, bootstrap, rarest_row
    from wardline.attacks.auditing.training import AuditDesign, audit_training
    from wardline.attacks.intervals import auc_interval, clopper_pearson
    from wardline.attacks.membership.control import memorise
    from wardline.attacks.membership.inference import MembershipSettings, Model, infer_membership
    from wardline.attacks.membership.scores import lira_scores, loss_scores, rmia_scores, scaled_confidence
    from wardline.attacks.membership.shadow import ReferenceRecipe, Stack, balanced_design, train_stack
    from wardline.attacks.roc import Roc, TprAtFpr, roc_curve, tpr_at_fpr

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
    "infer_membership",
    "largest_bound",
    "lira_scores",
    "loss_scores",
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
        "auditing.training": (
            "AuditDesign",
            "audit_training",
        ),
        "auditing.canaries": ("audit_settings",),
        "membership.control": ("memorise",),
        "intervals": (
            "auc_interval",
            "clopper_pearson",
        ),
        "auditing.mechanism_audit": ("audit_mechanism",),
        "auditing.mechanism_conformance": ("Check", "Conformance", "Subject", "conformance"),
        "membership.inference": (
            "MembershipSettings",
            "Model",
            "infer_membership",
        ),
        "auditing.one_run": (
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
        "membership.scores": (
            "lira_scores",
            "loss_scores",
            "rmia_scores",
            "scaled_confidence",
        ),
        "membership.shadow": (
            "ReferenceRecipe",
            "Stack",
            "balanced_design",
            "train_stack",
        ),
        "auditing.synthesis": ("Neighbours", "audit_synthesis", "bootstrap", "rarest_row"),
    },
    extra="torch",
)
