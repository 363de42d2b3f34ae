"""What the page shows, computed from the evidence alone: a frozen value that the template only lays out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardline.core.canonical import digest_value
from wardline.core.claims import Claim, Measurement
from wardline.core.drawing import hostile
from wardline.core.verdict import Verdict, combine
from wardline.evidence import text
from wardline.evidence._figure import Chart, in_doubt
from wardline.evidence.charts import charts


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One of the few figures at the top: what it is, the figure, what it means."""

    name: str
    figure: str
    note: str
    outcome: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A measurement beside the claim that it bears on."""

    measurement: Measurement
    figure: str
    sentence: str
    interval: str
    subject: str
    control: str
    control_word: str
    control_outcome: Verdict
    outcome: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """A claim, what was measured about it, and what follows."""

    claim: Claim
    figure: str
    promise: str
    findings: tuple[Finding, ...]
    outcome: Verdict
    outcome_sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRow:
    """A measurement in the complete list."""

    measurement: Measurement
    name: str
    figure: str
    interval: str
    subject: str
    standing: str
    outcome: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything on the page."""

    evidence: Mapping[str, Any]
    digest: str
    title: str
    project: str
    verdict: Verdict
    word: str
    meaning: str
    created: str
    waivers: tuple[Mapping[str, Any], ...]
    tiles: tuple[Tile, ...]
    claims: tuple[ClaimRow, ...]
    measurements: tuple[MeasurementRow, ...]
    charts: tuple[Chart, ...]
    limits: tuple[tuple[str, str], ...]
    noun: str
    unit: str
    price: str
    policy_text: str
    spent: str
    limit: str
    seeds: tuple[tuple[str, str], ...]


def judge(claim: Claim, measurement: Measurement) -> Verdict:
    """Set one measurement beside the claim that it bears on.

    A proven breach counts even where the control failed: a weak attack that succeeds is still a success.
    A figure that contradicts nothing counts only if its control shows that the attack finds what is there.
    """
    if measurement.value is None:
        return Verdict.INCONCLUSIVE
    # What the truth is at least, and at most. An estimate without an interval was counted, not sampled: it is both.
    least = None if measurement.bound == "upper" else measurement.value
    most = None if measurement.bound == "lower" else measurement.value
    if measurement.bound == "estimate" and measurement.interval is not None:
        least, most = measurement.interval.low, measurement.interval.high
    proven = least if claim.direction == "at_most" else most
    broken = proven is not None and (proven > claim.value if claim.direction == "at_most" else proven < claim.value)
    if broken:
        return Verdict.FAIL
    if proven is None or measurement.control is None or not measurement.control.passed:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def _finding(claim: Claim, measurement: Measurement) -> Finding:
    control = measurement.control
    return Finding(
        measurement=measurement,
        figure=text.symbolic(measurement),
        sentence=text.finding(measurement),
        interval=text.between(measurement.quantity, measurement.interval) if measurement.interval else "",
        subject=text.subject_name(measurement.subject),
        control=text.control_sentence(measurement),
        control_word="none" if control is None else "worked" if control.passed else "failed",
        control_outcome=Verdict.PASS if control is not None and control.passed else Verdict.INCONCLUSIVE,
        outcome=judge(claim, measurement),
    )


def _claim_row(
    claim: Claim, measurements: Sequence[Measurement], rules: Sequence[Mapping[str, Any]], noun: str
) -> ClaimRow:
    findings = tuple(
        _finding(claim, one) for one in measurements if one.bears_on == claim.id and one.quantity == claim.quantity
    )
    stated = [Verdict(rule["outcome"]) for rule in rules if rule["claim"] == claim.id]
    # The gate's word and the comparison made here must agree; if they ever do not, the worse one is shown.
    outcome = combine([combine(one.outcome for one in findings), *stated])
    return ClaimRow(
        claim=claim,
        figure=text.promised_figure(claim),
        promise=text.promise(claim, noun),
        findings=findings,
        outcome=outcome,
        outcome_sentence=text.CLAIM_OUTCOMES[outcome] if findings else "Nothing was measured about this promise.",
    )


def _measurement_row(measurement: Measurement, claims: Mapping[str, Claim]) -> MeasurementRow:
    claim = claims.get(measurement.bears_on or "")
    outcome = Verdict.INCONCLUSIVE if in_doubt(measurement) else Verdict.PASS
    if claim is not None and claim.quantity == measurement.quantity:
        outcome = judge(claim, measurement)
    return MeasurementRow(
        measurement=measurement,
        name=text.quantity_name(measurement.quantity),
        figure=text.bounded(measurement),
        interval=text.between(measurement.quantity, measurement.interval) if measurement.interval else "none stated",
        subject=text.subject_name(measurement.subject),
        standing=text.MEASUREMENT_OUTCOMES[outcome],
        outcome=outcome,
    )


def _tiles(claims: Sequence[ClaimRow], measurements: Sequence[Measurement], noun: str) -> tuple[Tile, ...]:
    tiles: list[Tile] = []
    for row in claims[:1]:
        tiles.append(
            Tile(name="Promised", figure=row.figure, note=text.promise_in_short(row.claim, noun), outcome=Verdict.PASS)
        )
        for one in row.findings[:1]:
            figure = text.symbolic(one.measurement)
            note = {
                Verdict.PASS: text.finding_in_short(one.measurement),
                Verdict.FAIL: "More than was promised: the promise is broken.",
                Verdict.INCONCLUSIVE: one.sentence if one.measurement.value is None else one.control,
            }[one.outcome]
            tiles.append(Tile(name="Found by attack", figure=figure, note=note, outcome=one.outcome))
    accuracy = {one.subject: one for one in measurements if one.quantity == "accuracy"}
    if "released" in accuracy:
        released, baseline = accuracy["released"], accuracy.get("baseline")
        note = "of the rows kept apart are predicted correctly"
        if baseline is not None and baseline.value is not None:
            note += f"; {text.figure('accuracy', baseline.value)} without protection"
        outcome = Verdict.INCONCLUSIVE if in_doubt(released) else Verdict.PASS
        tiles.append(Tile(name="Right answers", figure=text.bounded(released), note=note + ".", outcome=outcome))
    tiles.extend(_membership_tile(measurements))
    return tuple(tiles)


def _membership_tile(measurements: Sequence[Measurement]) -> list[Tile]:
    """The strongest attack at the most usual rate; one that proves nothing only if none proves anything."""
    rated = [one for one in measurements if text.false_alarms(one.quantity) == 0.01 and one.subject != "baseline"]
    if not rated:
        return []
    best = max(rated, key=lambda one: (not in_doubt(one), one.value if one.value is not None else -1.0))
    if in_doubt(best):
        note = best.refused or "The control failed: the attack finds nothing even where nothing protects."
        return [Tile(name="Members recognised", figure=text.bounded(best), note=note, outcome=Verdict.INCONCLUSIVE)]
    note = f"by the strongest attack ({text.method_name(best)}) at {text.percent(0.01)} false alarms"
    if best.control is not None:
        note += f"; {text.figure(best.quantity, best.control.value)} without protection"
    return [Tile(name="Members recognised", figure=text.bounded(best), note=note + ".", outcome=Verdict.PASS)]


def _price(measurements: Sequence[Measurement]) -> str:
    accuracy = {one.subject: one.value for one in measurements if one.quantity == "accuracy"}
    released, baseline = accuracy.get("released"), accuracy.get("baseline")
    if released is None or baseline is None:
        return "Unknown: the model with protection and the one without were not both measured."
    points = 100.0 * (baseline - released)
    size = f"{text.number(round(abs(points), 2))} percentage points"
    direction = "less than" if points >= 0 else "more than"
    return (
        f"The released model is right {text.percent(released)} of the time, {size} {direction} the same model "
        f"without protection ({text.percent(baseline)})."
    )


def _limit(limit: Mapping[str, Any] | None) -> str:
    if limit is None:
        return "none set"
    epsilon, delta = limit.get("epsilon"), limit.get("delta")
    if isinstance(epsilon, int | float) and isinstance(delta, int | float):
        return text.privacy_loss(epsilon, delta)
    return text.plain(limit)


def _seeds(policy: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    evidence = policy.get("evidence")
    seed = evidence.get("seed") if isinstance(evidence, Mapping) else None
    shown = "not stated" if seed is None else text.plain(seed)
    return (
        ("Seed of splits, initial weights, canaries and attacks", shown),
        ("Seed of the protecting noise", "none, on purpose: it comes from the operating system and cannot be repeated"),
    )


def _unit(unit: object) -> str:
    if unit == "row":
        return "one row"
    return f"one person ({text.plain(unit)})" if isinstance(unit, Mapping) else f"one {unit}"


def build_view(evidence: Mapping[str, Any]) -> View:
    """Compute what the page shows from evidence whose shape was checked.

    Raises:
        KeyError, TypeError, ValueError: for a claim, measurement or chart that is not well formed.
    """
    claims = tuple(Claim.from_json(value) for value in evidence["claims"])
    measurements = tuple(Measurement.from_json(value) for value in evidence["measurements"])
    rules = evidence["rules"]
    verdict = Verdict(evidence["verdict"]["outcome"])
    unit = evidence["dataset"]["unit"]
    noun = text.unit_noun(unit)
    waived = tuple(rule for rule in rules if rule["waiver"] is not None)
    rows = tuple(_claim_row(claim, measurements, rules, noun) for claim in claims)
    word, meaning = text.WORDS[verdict], text.MEANINGS[verdict]
    if verdict is Verdict.PASS and waived:
        word = f"{word}, with {'a waiver' if len(waived) == 1 else f'{len(waived)} waivers'}"
        meaning = text.WAIVED_MEANING
    return View(
        evidence=evidence,
        digest=digest_value(evidence),
        title=f"{hostile.shorten(evidence['project'], 60)}: {word}",
        project=hostile.shorten(evidence.get("title") or evidence["project"], 80),
        verdict=verdict,
        word=word,
        meaning=meaning,
        created=text.moment(evidence["created"]),
        waivers=waived,
        tiles=_tiles(rows, measurements, noun),
        claims=rows,
        measurements=tuple(_measurement_row(one, {claim.id: claim for claim in claims}) for one in measurements),
        charts=charts(claims, measurements, evidence["policy"]),
        limits=text.limits(unit, evidence["dataset"]["holdout_rows"]),
        noun=noun,
        unit=_unit(unit),
        price=_price(measurements),
        spent=text.privacy_loss(evidence["ledger"]["epsilon"], evidence["ledger"]["delta"]),
        limit=_limit(evidence["ledger"]["limit"]),
        policy_text=json.dumps(evidence["policy"], indent=2, ensure_ascii=False, sort_keys=True),
        seeds=_seeds(evidence["policy"]),
    )
