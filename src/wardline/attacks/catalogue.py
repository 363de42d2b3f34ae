"""Every attack by its id: ours, one entry each and nothing heavy imported, and what other packages add."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from wardline.attacks.protocol.attack import AttackEntry
from wardline.core import UsageError

GROUP = "wardline.attacks"
"""The group of entry points; the name is the attack's id, the object an `AttackEntry`."""

CATALOGUE: tuple[AttackEntry, ...] = (
    # evasion: white box
    # evasion: ensembles and scores
    # evasion: decisions and tables
    # text
    # backdoors
    # membership
    # reconstruction
    # extraction
)


def known_attacks() -> tuple[AttackEntry, ...]:
    """All attacks, ours first, each in the order of its table.

    Raises:
        UsageError: if another package offers something that is no `AttackEntry`, or an id that exists already.
    """
    entries = {entry.id: entry for entry in CATALOGUE}
    for entry in _offered():
        if entry.id in entries:
            raise UsageError(f"two attacks are called {entry.id}", hint="uninstall one of the packages that offer it")
        entries[entry.id] = entry
    return tuple(entries.values())


def find_attack(attack_id: str) -> AttackEntry:
    """The attack of this id.

    Raises:
        UsageError: if there is none; the hint names those of the same family.
    """
    known = known_attacks()
    for entry in known:
        if entry.id == attack_id:
            return entry
    family = attack_id.partition(".")[0]
    near = [entry.id for entry in known if entry.family == family] or [entry.id for entry in known]
    raise UsageError(f"there is no attack {attack_id}", hint=f"choose one of {', '.join(near)}")


def _offered() -> Iterator[AttackEntry]:
    for point in importlib.metadata.entry_points(group=GROUP):
        entry = point.load()
        if not isinstance(entry, AttackEntry) or entry.id != point.name:
            raise UsageError(
                f"{point.value} is offered as the attack {point.name} and is no AttackEntry of that id",
                hint="uninstall or mend the package that offers it",
            )
        yield entry
