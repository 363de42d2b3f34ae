"""Training the model that leaves: charged once, before anything is computed, however often it is killed.

The order of writes is what makes this true. Charge, then train. A checkpoint is stored under its digest
before the ledger notes it, so a noted one exists; the finished model is stored before the ledger seals its
digest. Whatever instant a kill hits, one of four situations is found, and `_choose` tells them apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from wardline.core import Progress, SecureRandom, Seeds, canonical_json, digest_value
from wardline.data import Examples
from wardline.dp import Ledger, PlannedRelease, PoissonGaussian, train_dp, train_plain
from wardline.models import model_files
from wardline.plan import Plan
from wardline.run.workspace import Computed, Workspace


@dataclass(slots=True, kw_only=True)
class LedgerCheckpoints:
    """Checkpoints of a training in the run's objects, the latest one noted in the ledger."""

    workspace: Workspace
    ledger: Ledger
    release_id: str

    def load(self) -> bytes | None:
        """The latest noted checkpoint, or None if there is none."""
        noted = self.ledger.checkpoint(self.release_id)
        return None if noted is None else self.workspace.get(noted[1])

    def save(self, step: int, data: bytes) -> None:
        """Store a checkpoint, note it, and only then delete the one before."""
        before = self.ledger.checkpoint(self.release_id)
        sha256 = self.workspace.put(data)
        self.ledger.progress(self.release_id, step, sha256)
        if before is not None and before[1] != sha256:
            self.workspace.remove(before[1])


def train_released(
    plan: Plan, examples: Examples, *, workspace: Workspace, ledger: Ledger, key: str, progress: Progress
) -> Computed:
    """Charge, train, seal; or go on where a killed process stopped.

    Args:
        plan: what to train.
        examples: the training part.
        workspace: where checkpoints and the model are stored.
        ledger: what is charged.
        key: digest of everything that the training depends on.
        progress: told about steps.

    Returns:
        The id under which the release was charged, and the model's files by name: a stage's result.

    Raises:
        BudgetError: if the charge would exceed the data set's limit; nothing was computed then.

    Guarantee: for each charge in the ledger at most one model is delivered, and its training used fresh
    noise in every step that influenced it.
    """
    release_id, finished = _choose(digest_value({"run": workspace.run_id, "stage": key}), workspace, ledger)
    if finished is not None:
        return {"release": release_id}, finished
    config = plan.training
    event = PoissonGaussian(
        sample_rate=config.sample_rate, noise_multiplier=config.noise_multiplier, steps=config.steps
    )
    release = PlannedRelease(
        release_id=release_id,
        dataset=plan.facts.account,
        unit=plan.facts.unit,
        events=(event,),
        description=f"{plan.project}: {plan.claim}",
    )
    ledger.charge(release, limit=plan.limit)
    model = train_dp(
        plan.architecture,
        examples,
        config=config,
        random=SecureRandom(),
        seeds=Seeds(plan.seed).child("train"),
        checkpoints=LedgerCheckpoints(workspace=workspace, ledger=ledger, release_id=release_id),
        progress=progress,
    )
    files = model_files(model)
    index = {name: workspace.put(content) for name, content in files.items()}
    sealed = workspace.put(canonical_json(index))
    ledger.seal(release_id, sealed)
    workspace.prune(keep={sealed, *index.values()})  # checkpoints, those of killed processes among them
    return {"release": release_id}, files


def train_baseline(plan: Plan, examples: Examples, *, progress: Progress) -> Computed:
    """Train the unprotected twin: same data, same architecture, no protection. It never leaves the run's folder."""
    seeds = Seeds(plan.seed).child("baseline")
    model = train_plain(plan.architecture, examples, config=plan.baseline, seeds=seeds, progress=progress)
    return {}, model_files(model)


def _choose(release_id: str, workspace: Workspace, ledger: Ledger) -> tuple[str, dict[str, bytes] | None]:
    """Under which id to go on, and the model's files if they are finished.

    - sealed, and the model is here: the kill came after the seal. It is the result.
    - sealed, and the model is gone: a second one would be a second release. Charge it under a new id.
    - a checkpoint is noted, and is gone: somebody may have seen it, and training would start over with
      fresh noise. Charge it under a new id.
    - otherwise nothing that depends on the data has been seen: go on under this id, charged once.
    """
    release_id = ledger.latest_attempt_id(release_id)
    sealed = ledger.sealed(release_id)
    if sealed is not None:
        files = _restore(sealed, workspace)
        lost = files is None
    else:
        files = None
        noted = ledger.checkpoint(release_id)
        lost = noted is not None and workspace.get(noted[1]) is None
    return (ledger.next_attempt_id(release_id), None) if lost else (release_id, files)


def _restore(sealed: str, workspace: Workspace) -> dict[str, bytes] | None:
    """The files of the model whose index has this digest, or None if one is missing or damaged."""
    index = workspace.get(sealed)
    if index is None:
        return None
    found = {name: workspace.get(sha256) for name, sha256 in json.loads(index).items()}
    files = {name: content for name, content in found.items() if content is not None}
    return files if len(files) == len(found) else None
