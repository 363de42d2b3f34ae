"""What a run measures: usefulness, membership inference, and the audit. Each returns measurements, never a verdict."""

from __future__ import annotations

import time

import numpy as np

from wardline.attacks import (
    AuditDesign,
    MembershipSettings,
    ReferenceRecipe,
    audit_settings,
    audit_training,
    clopper_pearson,
    infer_membership,
)
from wardline.core import Measurement, Progress, SecureRandom, Seeds
from wardline.data import Examples
from wardline.dp import train_dp, train_plain
from wardline.models import Architecture, TrainedModel
from wardline.plan import Plan


def measure_utility(released: TrainedModel, baseline: TrainedModel, holdout: Examples) -> tuple[Measurement, ...]:
    """Accuracy of the released model and of its unprotected twin on rows that neither was trained on."""
    return (
        _accuracy("utility.accuracy", "released", released, holdout),
        _accuracy("utility.baseline", "baseline", baseline, holdout),
    )


def _accuracy(identifier: str, subject: str, model: TrainedModel, holdout: Examples) -> Measurement:
    began = time.monotonic()
    correct = int(np.count_nonzero(model.predict(holdout.x) == holdout.y))
    return Measurement(
        id=identifier,
        quantity="accuracy",
        value=correct / len(holdout),
        interval=clopper_pearson(correct, len(holdout)),
        trials=len(holdout),
        subject=subject,
        method="share of held-out rows whose class is predicted correctly",
        reference="Clopper and Pearson 1934 for the interval",
        details={"correct": correct},
        seconds=round(time.monotonic() - began, 3),
    )


def measure_membership(
    plan: Plan, models: tuple[TrainedModel, TrainedModel], parts: tuple[Examples, Examples], progress: Progress
) -> tuple[Measurement, ...]:
    """Membership inference against the released model, with the unprotected twin as positive control."""
    step = plan.membership
    assert step is not None
    released, baseline = models
    return infer_membership(
        target=released,
        control=baseline,
        members=parts[0],
        non_members=parts[1],
        recipe=ReferenceRecipe(architecture=plan.architecture, training=plan.baseline, references=step.references),
        settings=MembershipSettings(methods=step.methods, fprs=step.fprs),
        seeds=Seeds(plan.seed).child("membership"),
        progress=progress,
    )


def measure_audit(plan: Plan, train: Examples, progress: Progress) -> tuple[Measurement, ...]:
    """Audit the very training that made the released model, on the same data with canaries attached."""
    step = plan.audit
    assert step is not None
    seeds = Seeds(plan.seed).child("audit")
    settings, scale = audit_settings(plan.training, n_units=plan.facts.train_units)

    def protected(architecture: Architecture, examples: Examples) -> TrainedModel:
        return train_dp(architecture, examples, config=settings, random=SecureRandom(), seeds=seeds, progress=progress)

    def unprotected(architecture: Architecture, examples: Examples) -> TrainedModel:
        return train_plain(architecture, examples, config=plan.baseline, seeds=seeds, progress=progress)

    design = AuditDesign(
        canaries=step.canaries,
        scale=scale,
        rows_per_unit=plan.training.max_rows_per_unit,
        confidence=step.confidence,
    )
    return (
        audit_training(
            train=protected,
            control=unprotected,
            architecture=plan.architecture,
            examples=train,
            claim=plan.claim,
            design=design,
            coins=SecureRandom(),
            progress=progress,
        ),
    )
