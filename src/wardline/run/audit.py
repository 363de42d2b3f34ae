"""An audit: examine a model, attack it within a time, judge what was found, and tell what was left out."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardline.attacks.catalogue import find_attack
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.examination import preflight
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec, Spec
from wardline.attacks.protocol.target import Target
from wardline.core import NoProgress, Progress, Seeds, UsageError, Verdict, WardlineError
from wardline.core.canonical import to_json
from wardline.core.checks import at_least, positive
from wardline.gate import AttackControl, judge_attack, judge_audit
from wardline.robust.ball import Ball, Norm
from wardline.robust.text.lexicon import corpus_lexicon
from wardline.run.audit_corruptions import LeftOut, corruption_curves
from wardline.run.audit_data import AuditData
from wardline.run.audit_families import CONTROL_EXAMPLES, copyable, data_for, without_limits
from wardline.run.audit_pictures import example_grid
from wardline.run.audit_plan import SECONDS, Kind, Situation, Step, Tier, plan_audit

_SILENT = NoProgress()
_PACKAGES = ("wardline", "numpy", "torch", "scipy", "scikit-learn")
_USED = 0.9  # of the time; the rest is for starting, writing and what takes longer than foreseen
_PILOT = 16
_CONTROL_SHARE = 0.2  # of a step's time
_MARGIN = 0.8  # of the time left to a step is filled: a pilot is no promise
_CURVE_SHARE = 0.1  # of all the time
_CURVE_EXAMPLES = 200
_CURVE_AT = (0.0, 0.25, 0.5, 1.0, 2.0)  # times the radius


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """What the person who asks for an audit decides.

    Attributes:
        tier: how much time there is: 2, 10 or 60 minutes on two cores.
        norm: of the changes to numeric inputs that the adversary can make.
        radius: how large they can be, in the unit of the inputs, above 0; None derives it (see `default_radius`).
        tolerated: the success rate up to which the model counts as having withstood an attack on its inputs.
        seed: of all randomness.
        copied: the agreement with a copy up to which the model counts as not copied, in [0, 1).
        examples: the most examples that any attack is tried on.
        pictures: how many broken images the report shows. They are rows of the data: 0 keeps them out of the evidence.
        seconds: another time than the tier's; above 0.
    """

    tier: Tier = "quick"
    norm: Norm = "linf"
    radius: float | None = None
    tolerated: float = 0.0
    copied: float = 0.9
    seed: int = 0
    examples: int = 10_000
    pictures: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.tier not in SECONDS:
            raise ValueError(f"tier must be one of {', '.join(SECONDS)}")
        for name in ("radius", "seconds"):
            value = getattr(self, name)
            if value is not None:
                positive(name, value)
        at_least("examples", self.examples, 1)
        at_least("pictures", self.pictures, 0)
        for name in ("tolerated", "copied"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What stands in the evidence about the model itself.

    Attributes:
        where: what the person named: a path, an import path, an address.
        kind: what that is, in a few words.
        sha256: digest of its files; None where there are none.
    """

    where: str
    kind: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOutcome:
    """What an audit found.

    Attributes:
        verdict: pass, fail or inconclusive.
        predicate: the evidence, of the form ``wardline.audit/1``.
    """

    verdict: Verdict
    predicate: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One attack with its control and outcome."""

    result: AttackResult
    control: AttackControl | None
    outcome: Verdict
    seconds: float

    def to_json(self) -> dict[str, Any]:
        value = self.result.to_json()
        del value["verdict"]  # the outcome is the gate's
        control = None
        if self.control is not None:
            control = {**to_json(self.control), "passed": self.control.passed}
        return {**value, "control": control, "outcome": self.outcome.value, "seconds": round(self.seconds, 3)}


def kind_of_inputs(spec: Spec) -> Kind:
    """Which attacks suit these inputs: images have channels, height and width; texts are no numbers."""
    if not isinstance(spec, InputSpec):
        return "texts"
    if not spec.continuous:
        return "constrained rows"
    return "images" if len(spec.shape) == 3 else "rows"


def default_radius(spec: Spec, norm: Norm) -> float:
    """A radius that is customary for such inputs, in their unit.

    Images: at linf 8/255 of the range for colours and 0.1 for grey, at l2 0.5 and 1.5, at l1 12 and 10 (Croce et al.
    2021, RobustBench; Croce and Hein 2021). Tables: at linf a twentieth of the median range of a column, times the
    square root of their number at l2, times their number at l1.
    """
    if not isinstance(spec, InputSpec):
        return 0.0
    width = float(np.median(np.asarray(spec.high) - np.asarray(spec.low)))
    if len(spec.shape) == 3:
        colours = spec.shape[0] == 3
        table = {"linf": 8 / 255 if colours else 0.1, "l2": 0.5 if colours else 1.5, "l1": 12.0 if colours else 10.0}
        return table[norm] * width
    return 0.05 * width * {"linf": 1.0, "l2": math.sqrt(spec.features), "l1": float(spec.features)}[norm]


def audit(
    target: Target, data: AuditData, *, settings: AuditSettings, about: Audited, progress: Progress = _SILENT
) -> AuditOutcome:
    """Audit a model.

    Args:
        target: the model, as the adversary sees it.
        data: examples that it was not trained on, and those that it was, if known.
        settings: time, limits of the adversary, seed.
        about: what the model is called in the evidence.
        progress: told which attack is at work.

    Returns:
        The verdict and the evidence. An attack that broke down is part of both, as inconclusive.

    Raises:
        UsageError: if no attack suits the model.
        ValueError: if the examples are not what the target's specification says.
    """
    work = _Audit(target, data, settings, progress)
    return work.go(about)


class _Audit:
    """One audit while it runs."""

    def __init__(self, target: Target, data: AuditData, settings: AuditSettings, progress: Progress) -> None:
        self.target, self.settings, self.progress = target, settings, progress
        self.data = data
        order = Seeds(settings.seed).numpy("audit.examples").permutation(len(data.held_out))[: settings.examples]
        self.examples = Labelled(x=data.held_out.x[order], y=data.held_out.y[order])
        self.kind = kind_of_inputs(target.spec)
        self.radius = default_radius(target.spec, settings.norm) if settings.radius is None else settings.radius
        self.began = time.monotonic()
        self.deadline = self.began + _USED * (settings.seconds or SECONDS[settings.tier])
        self.rows: list[_Row] = []
        self.cut: list[tuple[str, str]] = []
        self.steps: dict[str, Step] = {}

    def go(self, about: Audited) -> AuditOutcome:
        checks = preflight(self.target, self.examples)
        plan = plan_audit(
            Situation(
                access=self.target.access,
                kind=self.kind,
                norm=self.settings.norm,
                tier=self.settings.tier,
                train=self.data.train is not None,
                recipe=self.data.recipe is not None,
            )
        )
        if not plan.steps:
            raise UsageError(
                f"no attack suits {self.kind} with {self.target.access.value}",
                where=about.where,
                hint="`wardline attack list` shows what each attack needs",
            )
        self.cut += plan.cut
        self.steps = {step.attack: step for step in plan.steps}
        self.progress.start("audit", len(plan.steps))
        for index, step in enumerate(plan.steps):
            self._step(step, plan.steps[index:])
            self.progress.advance(index + 1, step.attack)
        curves = [*self._curves(), *self._corruptions()]
        self.progress.finish()
        verdict = judge_audit([row.outcome for row in self.rows], checks)
        return AuditOutcome(verdict=verdict, predicate=self._predicate(about, checks, curves, verdict))

    def _left(self) -> float:
        """Seconds until only the curves' share is left."""
        return self.deadline - time.monotonic() - _CURVE_SHARE * (self.deadline - self.began)

    def _step(self, step: Step, remaining: Sequence[Step]) -> None:
        seconds = self._left() * step.weight / sum(one.weight for one in remaining)
        if seconds < 1.0:
            self.cut.append((step.attack, "the time was spent"))
            return
        began = time.monotonic()
        try:
            row = self._attacked(step, seconds)
        except Exception as error:  # noqa: BLE001 (an attack that breaks down is a finding, never a pass, and no end)
            row = self._broken_down(step, error, time.monotonic() - began)
        self.rows.append(row)

    def _attacked(self, step: Step, seconds: float) -> _Row:
        began = time.monotonic()
        entry, attack = find_attack(step.attack), self._made(step)
        control = self._control(entry, attack, seconds * _CONTROL_SHARE)
        n = min(step.most, len(self.examples))
        result: AttackResult | None = None
        if n > _PILOT and entry.data.endswith(":Labelled"):
            pilot = time.monotonic()
            result = self._run(entry, attack, _PILOT, seconds - (pilot - began))
            each = (time.monotonic() - pilot) / _PILOT
            left = seconds - (time.monotonic() - began)
            n = max(_PILOT, min(n, int(_MARGIN * left / each)))
        if n < len(self.examples):
            told = "the time allows no more" if n < step.most else "more would tell little"
            self.cut.append((f"{step.attack}: {len(self.examples) - n:,} of {len(self.examples):,} examples", told))
        if result is None or n > _PILOT:
            result = self._run(entry, attack, n, max(1.0, seconds - (time.monotonic() - began)))
        return _Row(
            result=result,
            control=control,
            outcome=judge_attack(result, control),
            seconds=time.monotonic() - began,
        )

    def _made(self, step: Step) -> Any:
        factory = find_attack(step.attack).load()
        fields = {one.name for one in dataclasses.fields(factory)} if dataclasses.is_dataclass(factory) else set()
        settings = dict(step.settings)
        if "ball" in fields:
            settings["ball"] = Ball(norm=self.settings.norm, radius=self.radius)
        if "lexicon" in fields and self.data.train is not None:
            known = self.data.train
            settings["lexicon"] = corpus_lexicon(known.x, known.y, seeds=Seeds(self.settings.seed))
        return factory(**settings)

    def _run(self, entry: AttackEntry, attack: Any, n: int, seconds: float, on: Target | None = None) -> AttackResult:
        target = self.target if on is None else on
        examples = Labelled(x=self.examples.x[:n], y=self.examples.y[:n])
        tolerated = {"extraction": self.settings.copied, "membership": 0.0}.get(entry.family, self.settings.tolerated)
        budget = Budget(seconds=max(seconds, 0.1), tolerated=tolerated)
        data = data_for(entry, examples, self.data, target)
        result: AttackResult = attack.run(target, data, budget, self.settings.seed)
        return result

    def _control(self, entry: AttackEntry, attack: Any, seconds: float) -> AttackControl | None:
        """The same attack where it must work: with every input within reach, or on a model that is easily copied.

        Attacks on membership make their own, and say in a check how it went.
        """
        if entry.family == "extraction":
            result = self._run(
                entry, attack, len(self.examples), seconds, copyable(self.target, seed=self.settings.seed)
            )
            told = "the same attack on a linear model"
        else:
            unlimited = without_limits(attack, self.target)
            if unlimited is None:
                return None
            result = self._run(entry, unlimited, CONTROL_EXAMPLES, seconds)
            told = "the same attack without limits"
        if result.rate is None or result.interval is None:
            return None
        return AttackControl(
            description=told, rate=result.rate, interval=result.interval, n=result.n, chance=result.chance
        )

    def _broken_down(self, step: Step, error: Exception, seconds: float) -> _Row:
        # Of a stranger's exception the type alone: its message may quote what an input held. Ours never do.
        entry = find_attack(step.attack)
        told = str(error) if isinstance(error, WardlineError | BudgetSpent) else type(error).__name__
        check = Check(name="ran", outcome=Verdict.FAIL, detail=f"the attack broke down: {told}")
        result = AttackResult(
            attack=step.attack,
            threat=Threat(goal="none was reached", access=self.target.access),
            paper=entry.paper,
            n=0,
            rate=None,
            interval=None,
            queries=0,
            checks=(check,),
            seed=self.settings.seed,
        )
        return _Row(result=result, control=None, outcome=Verdict.INCONCLUSIVE, seconds=seconds)

    def _curves(self) -> list[dict[str, Any]]:
        """Accuracy against radius, by the attack that broke most."""
        spec = self.target.spec
        usable = [row for row in self.rows if row.result.rate is not None and "robust_accuracy" in row.result.details]
        if not isinstance(spec, InputSpec) or not usable:
            return []
        strongest = max(usable, key=lambda row: row.result.rate or 0.0).result.attack
        entry, attack = find_attack(strongest), self._made(self.steps[strongest])
        if not hasattr(attack, "ball"):
            return []
        points: list[list[float]] = []
        for factor in _CURVE_AT:
            seconds = (self.deadline - time.monotonic()) / (len(_CURVE_AT) - len(points))
            if seconds < 0.5:
                self.cut.append(("curve: further radii", "the time was spent"))
                break
            radius = factor * self.radius
            at = dataclasses.replace(attack, ball=Ball(norm=attack.ball.norm, radius=radius))
            result = self._run(entry, at, min(_CURVE_EXAMPLES, len(self.examples)), seconds)
            share = result.details.get("robust_accuracy")
            if not isinstance(share, Mapping):
                continue
            if any(check.name == "budget" and check.outcome is not Verdict.PASS for check in result.checks):
                self.cut.append(
                    (f"curve at {radius:.4g}: the rest of the search", "the time was spent; less may survive")
                )
            points.append([radius, share["value"], share["interval"].low, share["interval"].high])
        return [
            {
                "title": "Accuracy against the size of changes",
                "across": f"largest change ({attack.ball.norm})",
                "up": "accuracy",
                "series": [{"label": strongest, "points": points}],
            }
        ]

    def _corruptions(self) -> list[dict[str, Any]]:
        if self.kind != "images":
            return []
        try:
            return [
                corruption_curves(
                    self.target, self.examples, seconds=self.deadline - time.monotonic(), seed=self.settings.seed
                )
            ]
        except LeftOut as reason:
            self.cut.append(("common corruptions", str(reason)))
            return []

    def _pictures(self) -> list[dict[str, str]]:
        if not self.settings.pictures:
            return []
        pictures = []
        for row in self.rows:
            grid = example_grid(row.result.examples, most=self.settings.pictures)
            if grid:
                text = "Top: as they are. Middle: as the attack left them. Bottom: the change, magnified about grey."
                pictures.append({"title": f"Examples that {row.result.attack} broke", "text": text, "png": grid})
        return pictures[:1]

    def _predicate(
        self, about: Audited, checks: Sequence[Check], curves: list[dict[str, Any]], verdict: Verdict
    ) -> dict[str, Any]:
        spec = self.target.spec
        inputs: dict[str, Any] = {"kind": self.kind}
        if isinstance(spec, InputSpec):
            inputs |= {"shape": spec.shape, "low": float(np.min(spec.low)), "high": float(np.max(spec.high))}
            inputs |= {"one-hot groups": len(spec.groups)} if spec.groups else {}
        broken = [row.result.attack for row in self.rows if row.outcome is Verdict.FAIL]
        doubtful = [row.result.attack for row in self.rows if row.outcome is Verdict.INCONCLUSIVE]
        summary = f"{len(self.rows)} attacks: {len(broken)} succeeded, {len(doubtful)} inconclusive."
        if self.data.note:
            inputs["read as"] = self.data.note
        value: dict[str, Any] = to_json(
            {
                "schema": "wardline.audit/1",
                "project": self.target.name,
                "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "seconds": round(time.monotonic() - self.began, 3),
                "verdict": {"outcome": verdict, "summary": summary},
                "target": {
                    **to_json(about),
                    "access": self.target.access,
                    "classes": self.target.classes,
                    "inputs": inputs,
                },
                "data": {"source": self.data.source, "sha256": self.data.sha256, "rows": len(self.examples)},
                "settings": {
                    "tier": self.settings.tier,
                    "budget_seconds": self.settings.seconds or SECONDS[self.settings.tier],
                    "seed": self.settings.seed,
                    "norm": self.settings.norm,
                    "radius": self.radius,
                    "tolerated": self.settings.tolerated,
                    "copied": self.settings.copied,
                },
                "preflight": checks,
                "attacks": [row.to_json() for row in self.rows],
                "curves": curves,
                "pictures": self._pictures(),
                "cut": [{"subject": subject, "reason": reason} for subject, reason in self.cut],
                "environment": {
                    "python": platform.python_version(),
                    "platform": f"{platform.system()} {platform.machine()}",
                    "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
                },
            }
        )
        return value
