"""What every attack is, and its line in a list."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.target import Access, Target

Family: TypeAlias = Literal["evasion", "text", "backdoor", "membership", "reconstruction", "extraction"]


class Attack(Protocol):
    """What every attack is: something that runs against a target and tells what it found."""

    @property
    def id(self) -> str:
        """Stands for it, for example ``evasion.pgd``."""

    @property
    def needs(self) -> Access:
        """The least access it works with."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    def run(self, target: Target, data: Any, budget: Budget, seed: int) -> AttackResult:
        """Attack; equal arguments give equal JSON.

        Args:
            target: what is attacked, and all that may be asked.
            data: what the adversary has; its type depends on the family (see `AttackEntry.data`).
            budget: what may be spent.
            seed: of all randomness.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackEntry:
    """An attack in a list, before anything heavy is imported.

    Attributes:
        id: stands for it: ``family.name``.
        family: what it attacks.
        needs: the least access it works with.
        summary: one line for a person.
        paper: author, year, section.
        factory: ``module:name`` of what makes it; called without arguments it gives sensible defaults.
        data: ``module:name`` of the type of its data.
    """

    id: str
    family: Family
    needs: Access
    summary: str
    paper: str
    factory: str
    data: str = "wardline.attacks.protocol.examples:Labelled"

    def load(self) -> Any:
        """The factory itself, imported now."""
        module, _, name = self.factory.partition(":")
        return getattr(importlib.import_module(module), name)
