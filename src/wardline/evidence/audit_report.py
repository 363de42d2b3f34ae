"""The report of an audit: one self-contained page, rendered from its evidence and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wardline.core import IntegrityError, Interval
from wardline.core.canonical import to_json
from wardline.core.drawing.page import Section, render_page
from wardline.core.drawing.svg import Scale, drawing, from_zero
from wardline.core.drawing.xy import Axis, Line, Point, Series, draw_xy
from wardline.evidence import text
from wardline.evidence._rows import Limit, Row, draw_rows
from wardline.evidence.audit_consistency import check_audit

_LOOKS: tuple[Series, ...] = ("released", "unprotected", "third", "fourth")
_CHANCE = "blind guessing"
_QUANTITIES = {
    "attack_success_rate": "share of examples changed into another class",
    "tpr_at_fpr_0.01": "members found at one false alarm in a hundred",
    "attribute_success_rate": "people whose hidden attribute was guessed rightly",
    "agreement": "answers of the copy that agree with the model's",
}
_LEDE = {
    "pass": "Every attack was shown to work elsewhere, and none succeeded here beyond what is tolerated.",
    "fail": "At least one attack succeeded beyond what is tolerated.",
    "inconclusive": (
        "No attack succeeded beyond what is tolerated, but there are doubts that keep this from counting: they are "
        "listed below. This is not a pass."
    ),
}
_FOOTER = (
    "An attack that fails proves little: a better one may exist. Rates hold for examples like those that were "
    "attacked, and for adversaries with the access and limits that are stated beside them. What the budget left out "
    "is listed above; whatever is not listed there was not tried."
)


def render_audit(predicate: Mapping[str, Any]) -> bytes:
    """Render the evidence of an audit as a self-contained HTML page; the same evidence gives the same bytes.

    Args:
        predicate: evidence of the form ``wardline.audit/1``.

    Returns:
        The page, UTF-8.

    Raises:
        IntegrityError: if the evidence is malformed or contradicts itself; nothing is rendered then.

    Guarantee:
        As for `render_report`: opening the page runs no code and opens no connection.
    """
    evidence = to_json(predicate)
    verdict = check_audit(evidence)
    try:
        sections = [
            _overview(evidence),
            *_curves(evidence["curves"]),
            *_rocs(evidence["attacks"]),
            *(_attack(one) for one in evidence["attacks"]),
            *_triggers(evidence.get("triggers")),
            *(Section(title=one["title"], text=(one["text"],), png=one["png"]) for one in evidence["pictures"]),
            _preflight(evidence["preflight"]),
            _cut(evidence["cut"]),
            _facts(evidence),
        ]
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"the evidence holds what cannot be shown: {error}", hint="do not rely on it; run the audit again"
        ) from error
    lede = f"{text.WORDS[verdict]}: {_LEDE[verdict.value]} {evidence['verdict']['summary']}"
    return render_page(f"Audit of {evidence['project']}", sections, lede=lede, footer=_FOOTER)


def _overview(evidence: Mapping[str, Any]) -> Section:
    """All attacks over one axis, each with the same attack where it is known to work."""
    rows: list[Row] = []
    for one in evidence["attacks"]:
        rows.append(
            Row(
                label=one["attack"],
                figure=_figure(one["rate"]),
                look="released",
                value=one["rate"],
                interval=_interval(one["interval"]),
                hollow=one["outcome"] == "inconclusive",
            )
        )
        if one["control"] is not None:
            control = one["control"]
            rows.append(
                Row(
                    label=f"control: {control['description']}",
                    figure=_figure(control["rate"]),
                    look="unprotected",
                    value=control["rate"],
                    interval=_interval(control["interval"]),
                    minor=True,
                )
            )
    tolerated = evidence["settings"]["tolerated"]
    limits = [Limit(value=tolerated, look="limit", label=f"tolerated: {text.percent(tolerated)}")] if tolerated else []
    body, height = draw_rows(
        "attacks",
        rows,
        limits=limits,
        scale=Scale(low=0.0, high=1.0),
        write=lambda share: text.percent(share, digits=0),
    )
    summary = "; ".join(f"{one['attack']} {_figure(one['rate'])}, {one['outcome']}" for one in evidence["attacks"])
    return Section(
        title="What the attacks reached",
        text=(
            "Blue: this model. Orange: the same attack where it is known to work. A hollow mark proves nothing, "
            "for the reason given below. Intervals are exact at 95 % confidence where nothing else is said.",
        ),
        picture=drawing(name="attacks", title="Success of each attack", summary=summary, height=height, body=body),
        legend=(("released", "this model"), ("unprotected", "positive control")),
        columns=("Attack", "Outcome", "Rate", "Interval", "Trials", "Queries", "Seconds"),
        rows=tuple(
            (
                one["attack"],
                one["outcome"],
                _figure(one["rate"]),
                _between(one["interval"]),
                f"{one['n']:,}",
                f"{one['queries']:,}",
                f"{one['seconds']:.1f}",
            )
            for one in evidence["attacks"]
        ),
    )


def _attack(one: Mapping[str, Any]) -> Section:
    threat = one["threat"]
    facts = [
        ("outcome", one["outcome"]),
        (
            "figure",
            f"{_QUANTITIES.get(one['quantity'], one['quantity'])}: {_figure(one['rate'])} {_between(one['interval'])}",
        ),
        ("goal of the adversary", threat["goal"]),
        ("access", threat["access"]),
        ("limits", threat["limits"] or "none"),
        ("knowledge", threat["knowledge"] or "none beyond that"),
        ("trials", f"{one['n']:,}"),
        (_CHANCE, text.percent(one["chance"])),
        ("queries", f"{one['queries']:,}, {one['gradients']:,} of them with a gradient"),
        ("seed", str(one["seed"])),
        ("paper", one["paper"]),
    ]
    if "hidden" in one["details"]:
        facts.append(("hidden attribute", str(one["details"]["hidden"])))
    for name in ("clean_accuracy", "robust_accuracy", "prior_alone", "imputation"):
        share = one["details"].get(name)
        if isinstance(share, Mapping):
            facts.append((name.replace("_", " "), f"{_figure(share['value'])} {_between(share['interval'])}"))
    if one["control"] is not None:
        control = one["control"]
        works = "the attack works there" if control["passed"] else "the attack does not work even there"
        facts.append(
            ("positive control", f"{control['description']}: {_figure(control['rate'])} of {control['n']}; {works}")
        )
    facts += [(f"check {check['name']}", f"{check['outcome']}: {check['detail']}") for check in one["checks"]]
    return Section(title=one["attack"], columns=("", ""), rows=tuple(facts))


def _curves(curves: Sequence[Mapping[str, Any]]) -> list[Section]:
    sections = []
    for index, curve in enumerate(curves):
        series = curve["series"][: len(_LOOKS)]
        lines = [
            Line(
                label=one["label"],
                look=look,
                points=tuple(Point(x=x, y=y, low=low, high=high) for x, y, low, high in one["points"]),
            )
            for look, one in zip(_LOOKS, series, strict=False)
        ]
        furthest = max((point.x for line in lines for point in line.points), default=1.0)
        highest = max((point.high or point.y for line in lines for point in line.points), default=1.0)
        sections.append(
            Section(
                title=curve["title"],
                picture=draw_xy(
                    f"curve-{index}",
                    lines,
                    title=curve["title"],
                    summary="; ".join(_in_words(line) for line in lines),
                    across=Axis(name=curve["across"], scale=from_zero(furthest / 1.1)),
                    up=Axis(name=curve["up"], scale=Scale(low=0.0, high=1.0) if highest <= 1 else from_zero(highest)),
                ),
                legend=tuple((line.look, line.label) for line in lines) if len(lines) > 1 else (),
                columns=("series", curve["across"], curve["up"], "interval"),
                rows=tuple(
                    (line.label, f"{point.x:.4g}", f"{point.y:.3f}", f"{point.low:.3f} to {point.high:.3f}")
                    for line in lines
                    for point in line.points
                ),
            )
        )
    return sections


def _rocs(attacks: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Curves of attacks that tell one kind of record from another: lists `fpr` and `tpr` in `details.roc`."""
    found = [
        (one["attack"], one["details"]["roc"]) for one in attacks if isinstance(one["details"].get("roc"), Mapping)
    ]
    lines = [
        Line(
            label=name,
            look=look,
            join="step",
            points=tuple(Point(x=x, y=y) for x, y in zip(roc["fpr"], roc["tpr"], strict=True)),
        )
        for look, (name, roc) in zip(_LOOKS, found, strict=False)
    ]
    if not lines:
        return []
    axis = Scale(low=0.0, high=1.0)
    return [
        Section(
            title="Members found against false alarms",
            text=("Blind guessing lies on the diagonal.",),
            picture=draw_xy(
                "roc",
                lines,
                title="Members found against false alarms",
                summary=f"{len(lines)} attacks.",
                across=Axis(name="false alarms", scale=axis),
                up=Axis(name="members found", scale=axis),
            ),
            legend=tuple((line.look, line.label) for line in lines),
        )
    ]


def _triggers(part: Mapping[str, Any] | None) -> list[Section]:
    """The search for triggers: who is named, beside the same search in the same model with a trigger planted."""
    if part is None:
        return []
    control = part["control"]
    planted = control["classes"][control["label"]]
    named = ", ".join(map(str, part["named"]))
    return [
        Section(
            title="Whether a small trigger turns inputs into one class",
            text=(
                f"Class {named} stands out: look where its training data came from, and compare with models of "
                "the same recipe trained on data that you trust. This keeps the verdict from being a pass, and is no "
                "proof: the search can name a class of a clean model."
                if named
                else "No class stands out. That clears the model of nothing: triggers that are large, spread over the "
                "image or bound to one source class are not found.",
                f"A class is named if the index of its smallest trigger exceeds {part['index']:g}, its size is below "
                f"{part['shrinkage']:g} of the median of all classes, and it turns more than half of the images of "
                "other classes that the search has not seen, at 95 % confidence.",
                f"Control: with a trigger of ours in it, the same model "
                f"{'is named' if control['passed'] else 'is not named, so that the silence above proves even less'} "
                f"(class {control['label']}, {planted['ratio']:.2f} of the median, index {planted['index']:.1f}).",
                f"{part['paper']}; {part['steps']} steps on {part['images']:,} images.",
            ),
            columns=("class", "size", "of the median", "index", "turns", "interval", ""),
            rows=tuple(
                (
                    str(one["label"]),
                    f"{one['size']:.1f}",
                    f"{one['ratio']:.2f}",
                    f"{one['index']:.1f}",
                    f"{_figure(one['rate'])} of {one['n']:,}",
                    _between(one["interval"]),
                    "named" if one["named"] else "",
                )
                for one in part["classes"]
            ),
        )
    ]


def _preflight(checks: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        title="Whether the model could be attacked as it is used",
        text=("A model that is wrapped wrongly looks robust. So it is examined before anything is tried on it.",),
        columns=("check", "outcome", "what was found"),
        rows=tuple((one["name"], one["outcome"], one["detail"]) for one in checks),
    )


def _cut(cut: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        title="What was not tried",
        text=() if cut else ("The budget cut off nothing that this tier contains.",),
        columns=("what", "why") if cut else (),
        rows=tuple((one["subject"], one["reason"]) for one in cut),
    )


def _facts(evidence: Mapping[str, Any]) -> Section:
    target, data, settings = evidence["target"], evidence["data"], evidence["settings"]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(evidence["environment"]["packages"].items()))
    rows = [
        ("model", f"{target['kind']}: {target['where']}"),
        ("digest of the model", target["sha256"] or "none: it was not read from a file"),
        ("access", target["access"]),
        ("classes", str(target["classes"])),
        *((f"inputs: {name}", str(value)) for name, value in sorted(target["inputs"].items())),
        ("examples", f"{data['rows']:,} of {data['source']}"),
        ("digest of the examples", data["sha256"]),
        *((name.replace("_", " "), str(value)) for name, value in sorted(settings.items())),
        ("made", text.moment(evidence["created"])),
        ("took", text.duration(evidence["seconds"])),
        ("with", f"Python {evidence['environment']['python']}, {evidence['environment']['platform']}; {packages}"),
    ]
    return Section(title="What was audited, and how", columns=("", ""), rows=tuple(rows))


def _in_words(line: Line) -> str:
    if not line.points:
        return f"{line.label}: nothing"
    first, last = line.points[0], line.points[-1]
    return f"{line.label}: from {first.y:.3f} at {first.x:.4g} to {last.y:.3f} at {last.x:.4g}"


def _interval(value: Mapping[str, Any] | None) -> Interval | None:
    return None if value is None else Interval(**value)


def _between(value: Mapping[str, Any] | None) -> str:
    return "" if value is None else f"({text.percent(value['low'])} to {text.percent(value['high'])})"


def _figure(rate: float | None) -> str:
    return "no figure" if rate is None else text.percent(rate)
