"""An audit of what an encrypted model's replies tell of its weights: the auditor plays a client, with keys of its own.

Every attack runs twice: on replies with a protection taken away, where it must read the weights, and on what the
server really sends, where it must read nothing. Whoever audits holds the weights, so each attack that fails is followed
by the known-answer test, which sees more than any attacker can.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from wardline.attacks.extraction.encrypted_findings import EncryptedAudit, passed
from wardline.attacks.extraction.encrypted_linear_replies import MOST_SOLVED, LinearClient, Served, Steady
from wardline.attacks.extraction.encrypted_network_replies import NetworkClient
from wardline.attacks.extraction.encrypted_row_replies import RowClient
from wardline.attacks.extraction.encrypted_scores import from_scores
from wardline.attacks.protocol.result import Check
from wardline.core import NoProgress, Progress, Seeds, UsageError
from wardline.he.ciphertext import Residues
from wardline.he.diagonal.keys import gathered
from wardline.he.diagonal.plan import DiagonalPlan
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.modular import subtract
from wardline.he.kernels.radix import centred
from wardline.he.kernels.switching import divide_by_last
from wardline.he.linear.plan import FLOOD_BITS, LinearPlan
from wardline.he.network.plan import NetworkPlan
from wardline.he.seal.bridge import SealLattice

_ALARM = 6.0  # deviations: a fresh mask looks stale once in a thousand million audits

_EVEN = 0.3
"""Of the spread of uniform noise, where the noise of what is sent is least; see `evenness`."""

_NOT_COVERED = (
    "keys and ciphertexts that a client makes dishonestly: the protection does not hold for them",
    "times and sizes of replies, and what else of the machine can be seen from outside",
    "weaknesses of the encryption itself, or of the source of the server's randomness",
)
_NETWORKS = (
    "weights of a network's hidden layers one by one: derivatives at many rows, or as many outputs, determine them",
    "the lattice problem that a network's bare second polynomials pose, since dropped primes leave them rounded: those "
    "that are sent are compared with the ones that the weights give",
)


def audit_encrypted(served: Served, *, seed: int = 0, progress: Progress | None = None) -> EncryptedAudit:
    """Attack the replies of a compiled model.

    Args:
        served: the model with its weights, as `wardline.he.compiled.folder.read_model` gives it.
        seed: of the rows that are tried. Keys and noise are drawn afresh by every call, so that figures differ.
        progress: told after every attack.

    Returns:
        Attacks with their controls, checks, and what scores alone tell.

    Raises:
        UsageError: for a model of a kind that is not audited.

    Guarantee: a pass says that these attacks read the weights from unprotected replies of this very model and found
    nothing in what its evaluator sends, at a confidence of 1 - 1e-8 for each of them; that noise is 40 bits above the
    part of it that depends on the weights, by measurement; that no 32 neighbouring coefficients, and no eighth of all,
    go without it, and no two answers share it (neither is measured for models of a row at a time, whose answers are too
    few); and that second polynomials are fresh. It is no proof: what
    is not covered stands in the result, and scores alone determine a linear model after as many rows as it says.

    References: Gentry 2009, section 8.4; Li and Micciancio 2021.
    """
    start = time.perf_counter()
    plan = served.public.plan
    random = Seeds(seed).numpy("encrypted audit")
    told = progress or NoProgress()
    client, kind = _client(served, plan, random)
    steps = ([client.masks, client.errors] if isinstance(client, LinearClient) else []) + [
        lambda: client.beneath(random),
        lambda: client.uncharged(random),
    ]
    techniques = []
    told.start("attacks", len(steps) + 2)
    for done, step in enumerate(steps, 1):
        found = step()
        techniques += [] if found is None else [found]
        told.advance(done, "" if found is None else found.name)
    checks = _checks(client.steady(), plan.parameters.moduli)
    told.advance(len(steps) + 1, "checks")
    scores = from_scores(served, client.lattice, client.keys, random=random)
    told.advance(len(steps) + 2, "scores alone")
    told.finish()
    limits = list(_NOT_COVERED)
    if isinstance(plan, (NetworkPlan, DiagonalPlan)):
        limits += _NETWORKS
    elif plan.features > MOST_SOLVED:
        limits.append(
            f"weights one by one: {plan.features} features are more than the {MOST_SOLVED} that are solved for"
        )
    return EncryptedAudit(
        kind=kind,
        digest=served.public.digest.hex(),
        techniques=tuple(techniques),
        checks=checks,
        scores=scores,
        not_covered=tuple(limits),
        seconds=time.perf_counter() - start,
    )


def _client(
    served: Served, plan: Any, random: np.random.Generator
) -> tuple[LinearClient | NetworkClient | RowClient, str]:
    match plan:
        case LinearPlan():
            lattice = SealLattice.generate(plan.parameters)
            keys = expand_keys(lattice.evaluation_keys())
            return LinearClient(served=served, lattice=lattice, keys=keys), "linear"
        case NetworkPlan():
            lattice = SealLattice.generate(plan.parameters)
            keys = expand_keys(lattice.evaluation_keys(relinearisation=plan.relinearises))
            row = random.uniform(-0.5, 0.5, size=plan.inputs)
            return NetworkClient(served=served, lattice=lattice, keys=keys, row=row), "network"
        case DiagonalPlan():
            lattice = SealLattice.generate(plan.parameters)
            keys = expand_keys(lattice.evaluation_keys(relinearisation=plan.relinearises, steps=plan.steps))
            row = random.uniform(-0.5, 0.5, size=plan.inputs)
            return RowClient(served=served, lattice=lattice, keys=keys, ready=gathered(plan, keys), row=row), "diagonal"
        case _:
            raise UsageError(
                f"replies of a model with a {type(plan).__name__} are not audited",
                hint="compile it as a linear model or a network, and audit that",
            )


def _checks(found: Steady, primes: tuple[int, ...]) -> tuple[Check, ...]:
    """How far noise stands above what depends on weights, and whether second polynomials are fresh."""
    bits = math.inf if found.bare_noise == 0 else math.log2(max(found.sent_noise, 1e-300) / found.bare_noise)
    moduli, bare = primes[: found.sent.shape[1]], found.bare
    for left in range(bare.shape[1], len(moduli), -1):
        bare = divide_by_last(bare, moduli=primes[:left], form="coefficients")
    return (
        # Over thousands of numbers a deviation is known within some percent, over 32 within a bit: plans leave more.
        passed(
            "flooding",
            bits >= FLOOD_BITS - 0.5,
            f"noise of what is sent has 2^{bits:.1f} times the deviation of a bare reply's; at least 2^{FLOOD_BITS} is "
            "due",
        ),
        *(
            ()
            if found.evenness is None
            else (
                passed(
                    "flooding-everywhere",
                    found.evenness >= _EVEN,
                    f"the noise of what is sent has {found.evenness:.2f} of the spread of uniform noise where it is "
                    f"least; {_EVEN} is due",
                ),
            )
        ),
        *(
            ()
            if found.repeated is None
            else (
                passed(
                    "fresh-flooding",
                    found.repeated <= _ALARM,
                    f"the noise of two answers to the same columns is {found.repeated:.1f} deviations from being "
                    f"uncorrelated; up to {_ALARM:g} is chance",
                ),
            )
        ),
        _apart("fresh-mask", found.sent, bare, moduli, "the one that the weights give for the same columns"),
        _apart("no-repeats", found.sent, found.again, moduli, "the one of a second answer to the same columns"),
    )


def _apart(name: str, one: Residues, other: Residues, moduli: tuple[int, ...], what: str) -> Check:
    """Differences modulo Q of a fresh polynomial from any other are uniform: their size is Q / 4 on average."""
    off = np.abs(centred(subtract(one, other, moduli=moduli), moduli=moduli)) / math.prod(moduli)
    least = 0.25 - _ALARM / math.sqrt(48 * off.size)
    return passed(
        name,
        float(off.mean()) >= least,
        f"the second polynomial differs from {what} by {float(off.mean()):.4f} of the modulus; 0.2500 is chance",
    )
