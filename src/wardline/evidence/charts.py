"""The report's four kinds of chart, each with a text alternative and the figures as a table.

Blue circles and solid bars stand for what is released, orange diamonds and hatched bars for the same thing
without protection, everywhere. A hollow mark with a broken line is a figure that proves nothing, because the
positive control of its attack failed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from wardline.core.claims import Claim, Measurement
from wardline.core.drawing.svg import Look, Scale, around, drawing, from_zero
from wardline.evidence import text
from wardline.evidence._figure import (
    Chart,
    Key,
    bar_key,
    doubt,
    hollow_key,
    in_doubt,
    line_key,
    mark_key,
)
from wardline.evidence._roc import draw_roc
from wardline.evidence._rows import Limit, Row, draw_rows, reach, table


def charts(
    claims: Sequence[Claim], measurements: Sequence[Measurement], policy: Mapping[str, Any]
) -> tuple[Chart, ...]:
    """All charts that the claims and measurements of a run give rise to, in the order of the report.

    Args:
        claims: what was promised.
        measurements: what was found.
        policy: its gates are drawn as limits.

    Raises:
        TypeError, ValueError: for points of a ROC that are not shares, or do not rise.
    """
    drawn: list[Chart] = []
    for index, claim in enumerate(claims):
        audits = [one for one in measurements if one.bears_on == claim.id and one.quantity == claim.quantity]
        if claim.quantity == "epsilon" and claim.direction == "at_most" and audits:
            drawn.append(draw_epsilon(f"chart-epsilon-{index}", claim, audits))
    accuracy = [one for one in measurements if one.quantity == "accuracy" and one.subject in _UTILITY]
    if accuracy:
        drawn.append(draw_utility("chart-utility", accuracy, policy))
    # What is measured on the unprotected twin itself stands in the tables; here it would crowd out the control.
    measurements = [one for one in measurements if one.subject != "baseline"]
    rates = {rate for one in measurements if (rate := text.false_alarms(one.quantity)) is not None}
    for index, rate in enumerate(sorted(rates, reverse=True)):
        at_rate = [one for one in measurements if text.false_alarms(one.quantity) == rate]
        drawn.append(draw_membership(f"chart-membership-{index}", rate, at_rate, policy))
    # The same attack may be measured at several rates; its curve is one.
    curves = {text.method_name(one): one for one in reversed(measurements) if "roc" in one.details}
    for index, one in enumerate(reversed(curves.values())):
        drawn.append(draw_roc(f"chart-roc-{index}", one))
    return tuple(drawn)


# --- the policy's limits ------------------------------------------------------------------------------


def _limit(policy: Mapping[str, Any], rule: str, bound: str, at_fpr: float | None = None) -> float | None:
    """The share that a gate of the policy asks for, if there is such a gate."""
    gates = policy.get("gates")
    for gate in gates if isinstance(gates, list | tuple) else ():
        if not isinstance(gate, Mapping) or gate.get("rule") != rule:
            continue
        if (at_fpr is None or gate.get("at_fpr") == at_fpr) and text.is_probability(gate.get(bound)):
            return float(gate[bound])
    return None


# --- the charts ---------------------------------------------------------------------------------------


def _figure(measurement: Measurement) -> str:
    suffix = " (inconclusive)" if in_doubt(measurement) and measurement.value is not None else ""
    return text.symbolic(measurement) + suffix


def _keys(keys: tuple[Key, ...], rows: Sequence[Row], hollow: Key) -> tuple[Key, ...]:
    return (*keys, hollow) if any(row.hollow and row.value is not None for row in rows) else keys


def _with_control(measurement: Measurement, label: str, control_label: str) -> list[Row]:
    """A measurement's row, and that of its control where there is one."""
    bar = measurement.bound == "lower"
    rows = [
        Row(
            label=label,
            figure=_figure(measurement),
            look="released",
            value=measurement.value,
            interval=measurement.interval,
            hollow=in_doubt(measurement),
            bar=bar,
        )
    ]
    control = measurement.control
    if control is not None:
        rows.append(
            Row(
                label=control_label,
                figure=text.symbolic(dataclasses.replace(measurement, value=control.value, refused="")),
                look="unprotected",
                value=control.value,
                interval=control.interval,
                bar=bar,
                minor=True,
            )
        )
    return rows


def draw_epsilon(name: str, claim: Claim, audits: Sequence[Measurement]) -> Chart:
    """The promised epsilon against the one that attacks proved, and the one they prove where nothing protects."""
    rows: list[Row] = []
    for one in audits:
        label = "This training" if len(audits) == 1 else f"This training, {text.method_name(one)}"
        rows.extend(_with_control(one, label, "Without protection"))
    promised = text.figure(claim.quantity, claim.value)
    limit = Limit(label=f"promised: at most {promised}", value=claim.value, look="limit")
    scale = from_zero(max(claim.value, *reach(rows), 0.0))
    body, height = draw_rows(name, rows, limits=(limit,), scale=scale, write=text.number)
    columns, cells = table(rows, claim.quantity)
    title = "Leak promised and leak found (epsilon)"
    summary = _epsilon_summary(claim, audits)
    keys = [
        bar_key("released", "proved by attack on this training"),
        bar_key("unprotected", "proved where nothing protects (control)", filling=f"{name}-unprotected"),
        line_key("rule limit", "promised limit"),
    ]
    if any(row.look == "released" and row.value is not None and row.value > claim.value for row in rows):
        keys.append(bar_key("over", "beyond the promise", filling=f"{name}-over"))
    return Chart(
        name=name,
        title=title,
        summary=summary,
        keys=_keys(tuple(keys), rows, bar_key("released", "proves nothing", hollow=True)),
        picture=drawing(name=name, title=title, summary=summary, height=height, body=body),
        columns=columns,
        rows=((f"Promise {claim.id}", text.promised_figure(claim), "none: a theorem", "promised"), *cells),
        doubt=doubt(audits),
    )


def _epsilon_summary(claim: Claim, audits: Sequence[Measurement]) -> str:
    parts = [f"Promised: epsilon at most {text.figure('epsilon', claim.value)}."]
    for one in audits:
        if one.value is None:
            parts.append(f"The attack gave no figure: {one.refused}.")
            continue
        parts.append(f"Found by attack: {text.bounded(one)}.")
        if one.bound == "lower" and one.value > claim.value:
            parts.append("The proven leak exceeds the promise.")
        if one.control is not None:
            worked = "the control worked" if one.control.passed else "the control failed, so this proves nothing"
            parts.append(f"Without protection: {text.figure('epsilon', one.control.value)}; {worked}.")
    return " ".join(parts)


_UTILITY: dict[str, tuple[Look, str]] = {
    "released": ("released", "Released model"),
    "baseline": ("unprotected", "Without protection"),
}


def draw_utility(name: str, measurements: Sequence[Measurement], policy: Mapping[str, Any]) -> Chart:
    """How often the released model is right, and how often the same model without protection."""
    rows = [
        Row(
            label=_UTILITY[one.subject][1],
            figure=_figure(one),
            look=_UTILITY[one.subject][0],
            value=one.value,
            interval=one.interval,
            hollow=in_doubt(one),
        )
        for one in measurements
    ]
    required = _limit(policy, "accuracy", "at_least")
    of_baseline = _limit(policy, "baseline-accuracy", "at_least")
    limits: list[Limit] = []
    keys = [mark_key("released", "released model"), mark_key("unprotected", "the same without protection")]
    if required is not None:
        limits.append(Limit(value=required, look="limit"))
        keys.append(line_key("rule limit", f"required: at least {text.percent(required)}"))
    if of_baseline is not None and of_baseline != required:
        limits.append(Limit(value=of_baseline, look="chance"))
        keys.append(line_key("rule chance", f"required without protection: at least {text.percent(of_baseline)}"))
    values = (*reach(rows), *(limit.value for limit in limits)) or (0.0, 1.0)
    body, height = draw_rows(name, rows, limits=limits, scale=around(values, low=0.0, high=1.0), write=text.percent)
    columns, cells = table(rows, "accuracy")
    title = "Right answers on rows kept apart"
    summary = " ".join(f"{row.label}: {row.figure}." for row in rows)
    return Chart(
        name=name,
        title=title,
        summary=summary,
        keys=_keys(tuple(keys), rows, hollow_key()),
        picture=drawing(name=name, title=title, summary=summary, height=height, body=body),
        columns=columns,
        rows=cells,
        doubt=doubt(measurements),
    )


def draw_membership(name: str, rate: float, measurements: Sequence[Measurement], policy: Mapping[str, Any]) -> Chart:
    """How many members each attack recognises at one false-positive rate, and how many where nothing protects."""
    rows: list[Row] = []
    for one in measurements:
        method = text.method_name(one)
        rows.extend(_with_control(one, method, f"{method} without protection"))
    limits = [Limit(value=rate, look="chance")]
    keys = [
        mark_key("released", "released model"),
        mark_key("unprotected", "without protection (control)"),
        line_key("rule chance", f"blind guessing: {text.percent(rate)}"),
    ]
    allowed = _limit(policy, "membership-tpr", "at_most", rate)
    if allowed is not None:
        limits.append(Limit(value=allowed, look="limit"))
        keys.append(line_key("rule limit", f"allowed: at most {text.percent(allowed)}"))
    least = max(1e-5, min(value for value in (*reach(rows), rate) if value > 0))
    scale = Scale(low=10.0 ** min(-1, math.floor(math.log10(least) + 1e-9)), high=1.0, log=True)
    body, height = draw_rows(name, rows, limits=limits, scale=scale, write=text.percent)
    columns, cells = table(rows, measurements[0].quantity)
    title = f"Members recognised at {text.percent(rate)} false alarms"
    summary = (
        f"How many training rows an attacker recognises when {text.percent(rate)} of the accusations against "
        "outsiders are false. " + " ".join(f"{row.label}: {row.figure}." for row in rows)
    )
    return Chart(
        name=name,
        title=title,
        summary=summary,
        keys=_keys(tuple(keys), rows, hollow_key()),
        picture=drawing(name=name, title=title, summary=summary, height=height, body=body),
        columns=columns,
        rows=cells,
        doubt=doubt(measurements),
    )
