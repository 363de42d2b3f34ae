"""Room `attacks`: membership inference and one-run privacy auditing, each with a positive control.

Names are loaded when first used, so that importing the room does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wardline.core.extras import need

if TYPE_CHECKING:
    from wardline.attacks.audit import AuditDesign, audit_training
    from wardline.attacks.canaries import audit_settings
    from wardline.attacks.control import memorise
    from wardline.attacks.intervals import auc_interval, clopper_pearson
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

_HOMES = {
    "audit": ("AuditDesign", "audit_training"),
    "canaries": ("audit_settings",),
    "control": ("memorise",),
    "intervals": ("auc_interval", "clopper_pearson"),
    "membership_inference": ("MembershipSettings", "Model", "membership"),
    "one_run": ("Guesses", "audit_p_value", "canaries_needed", "epsilon_lower_bound", "largest_bound"),
    "roc": ("Roc", "TprAtFpr", "roc_curve", "tpr_at_fpr"),
    "scores": ("lira_scores", "loss_scores", "rmia_scores", "scaled_confidence"),
    "shadow": ("ReferenceRecipe", "Stack", "balanced_design", "train_stack"),
}
_MODULES = {name: f"wardline.attacks.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "AuditDesign",
    "Guesses",
    "MembershipSettings",
    "Model",
    "ReferenceRecipe",
    "Roc",
    "Stack",
    "TprAtFpr",
    "auc_interval",
    "audit_p_value",
    "audit_settings",
    "audit_training",
    "balanced_design",
    "canaries_needed",
    "clopper_pearson",
    "epsilon_lower_bound",
    "largest_bound",
    "lira_scores",
    "loss_scores",
    "membership",
    "memorise",
    "rmia_scores",
    "roc_curve",
    "scaled_confidence",
    "tpr_at_fpr",
    "train_stack",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(need(_MODULES[name], extra="torch"), name)
