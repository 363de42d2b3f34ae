"""An audit: examine a model, attack it within a time, judge what was found, and tell what was left out."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardline.attacks.catalogue import find_attack
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.examination import preflight, with_checks
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import SERVICE_LOST, AttackResult, Budget, Check, Threat, service_lost
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.reconstruction.attribute import AttributeData
from wardline.core import NoProgress, Progress, Seeds, UsageError, Verdict, WardlineError
from wardline.core.canonical import to_json
from wardline.gate import AttackControl, judge_attack, judge_audit
from wardline.robust.ball import Ball
from wardline.robust.text.lexicon import corpus_lexicon
from wardline.run.audit_attributes import hidden_attribute, name_of
from wardline.run.audit_corruptions import LeftOut, corruption_curves
from wardline.run.audit_data import AuditData
from wardline.run.audit_families import CONTROL_EXAMPLES, copyable, data_for, without_limits
from wardline.run.audit_pace import measure_pace
from wardline.run.audit_pictures import example_grid
from wardline.run.audit_plan import SECONDS, Situation, Step, plan_audit
from wardline.run.audit_settings import Audited, AuditSettings, default_radius, kind_of_inputs
from wardline.run.audit_triggers import applies as trigger_search_applies
from wardline.run.audit_triggers import search_triggers

_SILENT = NoProgress()
_PACKAGES = ("wardline", "numpy", "torch", "scipy", "scikit-learn")
_USED = 0.9  # of the time; the rest is for starting, writing and what takes longer than foreseen
_PACE_SHARE = 0.02  # of all the time
_EXAMINED_SHARE = 0.1  # of all the time
_TRIGGER_SHARE = 0.15  # of all the time, where triggers are searched for
_CONTROL_SHARE = 0.2  # of a step's time
_MARGIN = 0.8  # of the time left to a step is filled: a pilot is no promise
_ON_INPUTS = ("evasion.", "text.")
_TRIGGERS = "search for triggers (Neural Cleanse)"
_CURVE_SHARE = 0.1  # of all the time
_CURVE_EXAMPLES = 200
_CURVE_AT = (0.0, 0.25, 0.5, 1.0, 2.0)  # times the radius


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
        self.pilot = 0
        self.gone = False
        self.triggers: dict[str, Any] | None = None
        self.no_triggers = trigger_search_applies(target, settings.tier)

    def go(self, about: Audited) -> AuditOutcome:
        pace = measure_pace(self.target, self.examples, seconds=_PACE_SHARE * (self.deadline - self.began))
        self.pilot = pace.pilot
        examined = pace.examined(seconds=_EXAMINED_SHARE * (self.deadline - self.began))
        checks = [*preflight(self.target, Labelled(x=self.examples.x[:examined], y=self.examples.y[:examined]))]
        plan = plan_audit(
            Situation(
                access=self.target.access,
                kind=self.kind,
                norm=self.settings.norm,
                tier=self.settings.tier,
                train=self.data.train is not None,
                recipe=self.data.recipe is not None,
                attribute=hidden_attribute(self.target.spec, self.data.held_out.x) is not None,
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
        if not self.rows:
            raise UsageError(
                f"no attack was made: {self.cut[-1][1]}",
                where=about.where,
                hint="a longer tier gives more time, and a model that answers faster needs less",
            )
        checks += [*self._unattacked(plan.steps), *self._search_triggers()]
        curves = [*self._guarded("curve", self._curves), *self._guarded("common corruptions", self._corruptions)]
        self.progress.finish()
        verdict = judge_audit([row.outcome for row in self.rows], [*checks, *self._suspicion()])
        return AuditOutcome(verdict=verdict, predicate=self._predicate(about, checks, curves, verdict))

    def _left(self) -> float:
        """Seconds until only the share of what follows the attacks is left."""
        share = _CURVE_SHARE + (0.0 if self.no_triggers else _TRIGGER_SHARE)
        return self.deadline - time.monotonic() - share * (self.deadline - self.began)

    def _step(self, step: Step, remaining: Sequence[Step]) -> None:
        seconds = self._left() * step.weight / sum(one.weight for one in remaining)
        if seconds < 1.0:
            self.cut.append((step.attack, "the time was spent"))
            return
        if self._lost():
            self.cut.append((step.attack, "the service was lost"))
            return
        began = time.monotonic()
        try:
            row = self._attacked(step, seconds)
        except Exception as error:  # noqa: BLE001 (an attack that breaks down is a finding, never a pass, and no end)
            row = self._broken_down(step, error, time.monotonic() - began)
        self.rows.append(row)

    def _lost(self) -> bool:
        """Whether the service was given up in some attack, and does not answer now either."""
        if self.target.ledger.outages and not self.gone:
            try:
                self.gone = bool((self.target.labels(self.examples.x[:1]) < 0).any())
            except BudgetSpent:
                self.gone = True
        return self.gone

    def _attacked(self, step: Step, seconds: float) -> _Row:
        began = time.monotonic()
        entry, attack = find_attack(step.attack), self._made(step)
        control = self._control(entry, attack, seconds * _CONTROL_SHARE)
        n = min(step.most, len(self.examples))
        result: AttackResult | None = None
        if n > self.pilot and entry.data.endswith(":Labelled"):
            pilot = time.monotonic()
            result = self._run(entry, attack, self.pilot, seconds - (pilot - began))
            each = (time.monotonic() - pilot) / self.pilot
            left = seconds - (time.monotonic() - began)
            n = self.pilot if self._lost() else max(self.pilot, min(n, int(_MARGIN * left / each)))
        if n < len(self.examples):
            told = "the time allows no more" if n < step.most else "more would tell little"
            self.cut.append((f"{step.attack}: {len(self.examples) - n:,} of {len(self.examples):,} examples", told))
        if result is None or n > self.pilot:
            whole = self._run(entry, attack, n, max(1.0, seconds - (time.monotonic() - began)))
            result = whole if result is None else _telling(result, whole)
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
        tolerated = {
            "extraction": self.settings.copied,
            "membership": 0.0,
            "reconstruction": 0.0,
        }.get(entry.family, self.settings.tolerated)
        budget = Budget(seconds=max(seconds, 0.1), tolerated=tolerated)
        data = data_for(entry, examples, self.data, target)
        outages = len(target.ledger.outages)
        result: AttackResult = attack.run(target, data, budget, self.settings.seed)
        if isinstance(data, AttributeData):
            told = {**result.details, "hidden": name_of(data.columns, self.data.features)}
            result = dataclasses.replace(result, details=told)
        lost = target.ledger.outages[outages:]
        if lost and not any(check.name == SERVICE_LOST for check in result.checks):
            result = with_checks(result, [service_lost(lost[0])])
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
        useless = any(check.outcome is Verdict.FAIL for check in result.checks)
        if result.rate is None or result.interval is None or useless:
            return None
        return AttackControl(
            description=told, rate=result.rate, interval=result.interval, n=result.n, chance=result.chance
        )

    def _broken_down(self, step: Step, error: Exception, seconds: float) -> _Row:
        entry = find_attack(step.attack)
        check = Check(name="ran", outcome=Verdict.FAIL, detail=f"the attack broke down: {_told(error)}")
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

    def _guarded(self, subject: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Curves, or word of why there are none: they are no part of the verdict, so they must not end an audit."""
        if self._lost():
            self.cut.append((subject, "the service was lost"))
            return []
        try:
            return make()
        except Exception as error:  # noqa: BLE001 (as for an attack: told, and no end)
            self.cut.append((subject, f"it broke down: {_told(error)}"))
            return []

    def _unattacked(self, planned: Sequence[Step]) -> list[Check]:
        """Doubts about an audit that did not come to what its tier contains, or had nothing to try on inputs."""
        made = {row.result.attack for row in self.rows}
        missing = [step.attack for step in planned if step.attack not in made]
        checks = []
        if missing:
            told = f"planned and not made: {', '.join(missing)}"
            checks.append(Check(name="attacks-made", outcome=Verdict.INCONCLUSIVE, detail=told))
        if not any(attack.startswith(_ON_INPUTS) for attack in made):
            told = "no attack changed an input, so nothing is known about that"
            checks.append(Check(name="inputs-attacked", outcome=Verdict.INCONCLUSIVE, detail=told))
        return checks

    def _search_triggers(self) -> list[Check]:
        """Look for triggers where that suits; a doubt if the search broke down."""
        if self.no_triggers:
            self.cut.append((_TRIGGERS, self.no_triggers))
            return []
        whole = self.deadline - self.began
        seconds = min(self.deadline - time.monotonic() - _CURVE_SHARE * whole, 2 * _TRIGGER_SHARE * whole)
        try:
            self.triggers = search_triggers(self.target, self.examples, seconds=seconds, seed=self.settings.seed)
        except LeftOut as reason:
            self.cut.append((_TRIGGERS, str(reason)))
        except Exception as error:  # noqa: BLE001 (as for an attack: a finding, never a pass)
            detail = f"the search for triggers broke down: {_told(error)}"
            return [Check(name="triggers", outcome=Verdict.INCONCLUSIVE, detail=detail)]
        return []

    def _suspicion(self) -> list[Check]:
        """A class that a search for triggers names keeps a model from passing, and does not make it fail.

        The search can name classes of clean models, and no audit has clean twins to tell how rare such a trigger is.
        """
        if self.triggers is None or not self.triggers["named"]:
            return []
        return [Check(name="triggers", outcome=Verdict.INCONCLUSIVE, detail="a class stands out")]

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
        if self.triggers is not None and self.triggers["named"]:
            summary += f" The search for triggers names class {', '.join(map(str, self.triggers['named']))}."
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
                "triggers": self.triggers,
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


def _telling(pilot: AttackResult, whole: AttackResult) -> AttackResult:
    """The result on more examples, unless it was cut off before it found what the pilot had found."""
    hidden = pilot.verdict is Verdict.FAIL and whole.verdict is not Verdict.FAIL
    if whole.n >= pilot.n and not hidden:
        return whole
    return with_checks(pilot, [check for check in whole.checks if check.outcome is not Verdict.PASS])


def _told(error: Exception) -> str:
    # Of a stranger's exception the type alone: its message may quote what an input held. Ours never do.
    return str(error) if isinstance(error, WardlineError | BudgetSpent) else type(error).__name__
