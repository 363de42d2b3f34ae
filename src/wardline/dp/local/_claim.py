"""The claim that every mechanism of the local model makes, and the name of its parameters."""

from __future__ import annotations

import json
from typing import Any

from wardline.core import Claim, canonical_json

FORMAT = "wardline local report/1"

ADVERSARY = "the server that collects the reports itself, and everybody it shows them to, whatever else they know"

ASSUMPTIONS = (
    "The person's own device runs this mechanism on the true value and nothing else leaves the device.",
    "The device's operating system gives unpredictable random numbers.",
    "That a person takes part, when they report, and from which address is not hidden; only what they answer is.",
    "The domain of the answers was fixed without looking at them.",
    "Several reports of one person add up; this is the cost of one.",
    "Nothing limits what dishonest clients do to the result: each can shift it by more than one person's worth"
    " (Cheu, Smith and Ullman 2021).",
)


def scheme_of(kind: str, **parameters: int | float | str | list[float]) -> str:
    """The mechanism and its parameters as canonical JSON."""
    return canonical_json({"format": FORMAT, "kind": kind, **parameters}).decode("ascii")


def local_claim(
    *, scheme: str, epsilon: float, exact: float, reference: str, about: str = "the answer", **more: Any
) -> Claim:
    """The claim of one report.

    Args:
        scheme: of the mechanism.
        epsilon: what is promised.
        exact: what the probabilities in use amount to, at most `epsilon`.
        reference: where the mechanism is described and proved.
        about: what is protected.
        more: further parameters worth telling.
    """
    parameters = json.loads(scheme)
    kind = parameters.pop("kind")
    del parameters["format"]
    return Claim(
        id=f"dp.local.{kind}",
        quantity="epsilon",
        value=epsilon,
        direction="at_most",
        statement=(
            f"Whatever {about} is, every possible report is sent with nearly the same probability: the largest ratio"
            f" between any two is e^{epsilon:g} at most, with delta 0."
        ),
        adversary=ADVERSARY,
        parameters={**parameters, "exact_epsilon": min(exact, epsilon), **more},
        assumptions=ASSUMPTIONS,
        reference=reference,
    )
