"""One thing that is wrong in a policy, in words for the person who wrote it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from wardline.policy.fields import show

KeyPath = tuple[str | int, ...]
"""Keys and list places that lead from the top of a policy to a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: where, as keys and list places.
        message: what, in lower case, to stand behind the key path.
        hint: what to do about it.
    """

    path: KeyPath
    message: str
    hint: str

    @property
    def key(self) -> str:
        """The key path as text, for example ``protections[0].epsilon``."""
        return spell(self.path)


def spell(path: KeyPath) -> str:
    """A key path as text; list places count from 0, odd keys stand in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part) else show(part)
            text += f".{name}" if text else name
    return text or "the policy"


def nearest(given: str, allowed: Iterable[str], what: str) -> str:
    """A hint that lists what is allowed and begins with what was perhaps meant."""
    names = [show(str(name))[1:-1] for name in allowed]
    close = difflib.get_close_matches(given[:80].lower(), [name.lower() for name in names[:1000]], n=1, cutoff=0.6)
    meant = next((f'did you mean "{name}"? ' for name in names if close and name.lower() == close[0]), "")
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"{meant}{what}: {shown}"
