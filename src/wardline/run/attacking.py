"""Single attacks as a person asks for them: made from words, run, and set side by side."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.target import AccessDenied, Target
from wardline.core import NoProgress, Progress, UsageError
from wardline.core.drawing.page import Section, render_page
from wardline.robust.ball import Ball

_SILENT = NoProgress()
_SIMPLE = (bool, int, float, str)
_FLAGS = {"true": True, "yes": True, "false": False, "no": False}


def settings_of(entry: AttackEntry) -> dict[str, Any]:
    """What can be set of an attack in words: names with their defaults; its ball is set apart."""
    factory = entry.load()
    return {
        name: default if isinstance(default, _SIMPLE) else None
        for name, default in _arguments(factory).items()
        if name != "ball" and _kinds(factory, name)
    }


def make_attack(entry: AttackEntry, *, words: Mapping[str, str], ball: Ball | None) -> Any:
    """An attack with the settings that a person wrote.

    Args:
        entry: which attack.
        words: settings by name, as written; all others keep their defaults.
        ball: what the adversary may change; None keeps the default, or is right where an attack has none.

    Raises:
        UsageError: for a setting that the attack does not have, or a value that it cannot take.
    """
    known = settings_of(entry)
    factory = entry.load()
    values: dict[str, Any] = {}
    for name, word in words.items():
        if name not in known:
            listed = ", ".join(f"{one}={default}" for one, default in known.items()) or "nothing"
            raise UsageError(f"{entry.id} has no setting {name}", where=f"--set {name}", hint=f"it has {listed}")
        values[name] = _parse(word, _kinds(factory, name), name)
    if ball is not None and "ball" in _arguments(factory):
        values["ball"] = ball
    try:
        return factory(**values)
    except ValueError as error:
        raise UsageError(f"{entry.id} cannot be made so: {error}", hint=f"`wardline attack list {entry.id}`") from error


def _arguments(factory: Any) -> dict[str, Any]:
    """What a class of attacks, or a function that makes one, takes by name, with defaults."""
    return {name: one.default for name, one in inspect.signature(factory).parameters.items()}


def _kinds(factory: Any, name: str) -> tuple[type, ...]:
    """The simple types that a setting can take, None among them; empty if it takes others."""
    hint = typing.get_type_hints(factory).get(name)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds: list[type] = []
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            kinds.append(str)
        elif option in _SIMPLE or option is types.NoneType:
            kinds.append(option)
        else:
            return ()
    return tuple(kinds)


def _parse(word: str, kinds: tuple[type, ...], name: str) -> Any:
    if types.NoneType in kinds and word.lower() == "none":
        return None
    for kind in (one for one in _SIMPLE if one in kinds):
        if kind is bool:
            if word.lower() in _FLAGS:
                return _FLAGS[word.lower()]
            continue
        try:
            return kind(word)
        except ValueError:
            continue
    wanted = " or ".join(kind.__name__ for kind in kinds if kind is not types.NoneType)
    raise UsageError(f"{word!r} is no value for {name}", where=f"--set {name}", hint=f"write a value of type {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several attacks on several models, over the same examples.

    Attributes:
        models: their names, in order.
        attacks: ids of the attacks, in order.
        results: by model, then by attack; None where the adversary's access did not suffice.
    """

    models: tuple[str, ...]
    attacks: tuple[str, ...]
    results: tuple[tuple[AttackResult | None, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            model: {
                attack: None if result is None else result.to_json()
                for attack, result in zip(self.attacks, row, strict=True)
            }
            for model, row in zip(self.models, self.results, strict=True)
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of `rows`."""
        return ("model", "clean accuracy", *self.attacks)

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """A row for each model: accuracy unprovoked, then under each attack, with intervals and doubts."""
        return tuple(
            (model, _clean(results), *(_cell(result) for result in results))
            for model, results in zip(self.models, self.results, strict=True)
        )

    def page(self) -> bytes:
        """The comparison as a self-contained page."""
        doubts = tuple(
            (f"{model}, {attack}", f"{check.outcome.value}: {check.detail}")
            for model, results in zip(self.models, self.results, strict=True)
            for attack, result in zip(self.attacks, results, strict=True)
            if result is not None
            for check in result.checks
            if check.outcome.value != "pass"
        )
        sections = [
            Section(
                title="Accuracy under each attack",
                text=("A figure with a question mark may be the attack's fault; the reasons stand below.",),
                columns=self.columns,
                rows=self.rows,
            )
        ]
        if doubts:
            sections.append(Section(title="Doubts", columns=("where", "what"), rows=doubts))
        footer = "Exact intervals at 95 % confidence. An attack that fails proves little: a better one may exist."
        return render_page("Attacks compared", sections, footer=footer)


def compare(
    targets: Sequence[Target],
    attacks: Sequence[Any],
    data: Labelled,
    *,
    budget: Budget,
    seed: int,
    progress: Progress = _SILENT,
) -> Comparison:
    """Run every attack on every model, over the same examples and with the same seed."""
    results: list[tuple[AttackResult | None, ...]] = []
    progress.start("compare", len(targets) * len(attacks))
    for target in targets:
        row: list[AttackResult | None] = []
        for attack in attacks:
            try:
                row.append(attack.run(target, data, budget, seed))
            except AccessDenied:
                row.append(None)
            progress.advance(len(results) * len(attacks) + len(row), attack.id)
        results.append(tuple(row))
    progress.finish()
    return Comparison(
        models=tuple(target.name for target in targets),
        attacks=tuple(attack.id for attack in attacks),
        results=tuple(results),
    )


def _clean(results: Sequence[AttackResult | None]) -> str:
    shares = [result.details.get("clean_accuracy") for result in results if result is not None]
    return next((_share(share) for share in shares if share), "unknown")


def _cell(result: AttackResult | None) -> str:
    if result is None:
        return "needs more access"
    share = result.details.get("robust_accuracy")
    figure = _share(share) if share else "no figure" if result.rate is None else f"{result.rate:.3f} {result.interval}"
    return figure if all(check.outcome.value == "pass" for check in result.checks) else f"{figure} ?"


def _share(share: Mapping[str, Any]) -> str:
    return f"{share['value']:.3f} {share['interval']}"
