"""Labels that keep contradictory protections apart before anything runs.

The idea is age's: recipients of a file must agree on their labels. Here a protection names the
properties that its guarantee needs and those that it breaks; a combination in which one breaks what
another needs is refused when the plan is resolved, not when a figure looks odd.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from wardline.core.errors import ConflictError


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What one protection needs and breaks.

    Attributes:
        owner: the protection, as the policy names it.
        needs: properties that its guarantee rests on.
        breaks: properties that do not hold once it is applied.
        sole: roles that no other protection of the same policy may take as well.
        where: place in the policy, for the error message.
    """

    owner: str
    needs: frozenset[str] = frozenset()
    breaks: frozenset[str] = frozenset()
    sole: frozenset[str] = frozenset()
    where: str = ""


def check_compatible(labels: Sequence[Labels]) -> None:
    """Refuse a combination in which one protection breaks what another needs, or two take one role.

    Raises:
        ConflictError: naming both protections and the property.
    """
    for one in labels:
        for other in labels:
            broken = one.breaks & other.needs
            if broken:
                raise ConflictError(
                    f"{one.owner} breaks what {other.owner} needs: {', '.join(sorted(broken))}",
                    where=one.where,
                    hint=f"remove {one.owner} or {other.owner}",
                )
    roles = Counter(role for one in labels for role in one.sole)
    for role, count in sorted(roles.items()):
        if count > 1:
            owners = [one for one in labels if role in one.sole]
            raise ConflictError(
                f"{count} protections claim to be the only {role}: {', '.join(one.owner for one in owners)}",
                where=owners[-1].where,
                hint="keep one of them",
            )
