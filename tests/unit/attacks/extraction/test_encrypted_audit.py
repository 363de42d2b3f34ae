"""The audit of encrypted replies: it passes what is protected, and names what is missing where something is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal")
pytest.importorskip("numba")

from click.testing import CliRunner

from wardline.attacks.extraction.encrypted_audit import audit_encrypted
from wardline.attacks.extraction.encrypted_findings import Finding, Technique
from wardline.attacks.extraction.encrypted_replies import Share, all_from_masks, least_squares, share_of
from wardline.cli.app import cli
from wardline.core import SecureRandom, UsageError, Verdict
from wardline.he.ciphertext import Ciphertext
from wardline.he.compiled.compiling import compile_model
from wardline.he.compiled.folder import write_model
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.diagonal import evaluation as diagonal
from wardline.he.diagonal.choice import plan_diagonal
from wardline.he.diagonal.keys import gathered
from wardline.he.kernels.modular import add
from wardline.he.kernels.sampling import flooding
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.linear.evaluation import unsafe_sums
from wardline.he.network.choice import plan_network
from wardline.he.network.evaluation import replies, unsafe_replies
from wardline.he.network.tiling import withheld

FEATURES = 8


@dataclass
class Broken:
    """A model whose evaluator was replaced."""

    public: Any
    secret: Any
    sends: Callable[..., tuple[Ciphertext, ...]]

    def evaluate(self, columns: Any, keys: Any, *, rows: int, threads: int = 1) -> tuple[Ciphertext, ...]:
        return self.sends(self, columns, keys, rows)


@pytest.fixture(scope="module")
def compiled() -> Any:
    generator = np.random.default_rng(3)
    layer = Affine(weights=generator.normal(size=(1, FEATURES)), offset=generator.normal(size=1))
    meaning = Meaning(gives="decision", classes=("no", "yes"), link="sigmoid")
    return compile_model(
        Program(input_shape=(FEATURES,), layers=(layer,), meaning=meaning), generator.normal(size=(400, FEATURES))
    )


def sums(
    served: Broken, columns: Any, keys: Any, rows: int, *, masked: bool, bits: int | None, cut: bool
) -> tuple[Ciphertext, ...]:
    """The linear evaluation again, with each protection to be left out."""
    plan = served.public.plan
    moduli, source = plan.parameters.moduli, SecureRandom()
    found = unsafe_sums(columns, plan=plan, secret=served.secret)
    if masked:
        zeros = encryptions_of_zero(source, keys.public, count=plan.outputs, moduli=moduli, form="coefficients")
        found = add(found, zeros, moduli=moduli)
    if bits is not None:
        noise = flooding(source, (plan.outputs, plan.parameters.degree), bits=bits, moduli=moduli)
        found[:, 0] = add(np.ascontiguousarray(found[:, 0]), noise, moduli=moduli)
    # Without noise the switch to one prime would cover most of the weights by its rounding: leave it out as well.
    for left in range(len(moduli), 1 if bits is not None else len(moduli), -1):
        found = divide_by_last(found, moduli=moduli[:left], form="coefficients")
    if cut:
        found[:, 0, :, rows:] = 0
    return tuple(Ciphertext(parameters=plan.parameters, parts=one, form="coefficients") for one in found)


def test_a_protected_linear_model_passes_and_scores_alone_determine_it(compiled: Any) -> None:
    found = audit_encrypted(compiled.evaluator)
    assert found.verdict is Verdict.PASS, found.lines()
    assert [one.name for one in found.techniques] == [
        *("linear-masks", "linear-noise", "beneath-the-step", "rows-not-charged")
    ]
    for one in found.techniques:
        assert one.control.complete
        assert not one.sent.detected
    for one in found.techniques[:3]:
        assert (one.control.recovered, one.sent.recovered) == (FEATURES, 0)
    assert found.scores.rows == FEATURES + 1
    assert found.scores.asked == FEATURES + 1
    assert found.scores.largest_error is not None
    assert found.scores.largest_error < 0.05
    assert found.scores.agreement is not None
    assert found.scores.agreement > 0.98
    told = json.loads(json.dumps(found.to_json()))
    assert told["verdict"]["outcome"] == "pass"
    told_to_people = "\n".join(found.lines())
    assert "9 metered rows determine the model" in told_to_people
    assert "no fewer than" in told_to_people


@pytest.mark.parametrize(
    ("masked", "flooded", "cut", "named"),
    [
        (False, 0, True, {"fresh-mask", "no-repeats"}),
        (True, None, True, {"linear-noise", "beneath-the-step", "flooding"}),
        (True, -30, True, {"flooding"}),
        (True, 0, False, {"rows-not-charged"}),
    ],
    ids=["no fresh mask", "no flooding", "30 bits too little flooding", "rows that were not charged are left"],
)
def test_each_missing_protection_fails_by_name(
    compiled: Any, masked: bool, flooded: int | None, cut: bool, named: set[str]
) -> None:
    public, bits = compiled.public, compiled.public.plan.flood_bits

    def sends(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
        level = None if flooded is None else bits + flooded
        return sums(served, columns, keys, rows, masked=masked, bits=level, cut=cut)

    found = audit_encrypted(Broken(public, compiled.evaluator.secret, sends))
    assert found.verdict is Verdict.FAIL
    failed = {one.name for one in found.techniques if one.verdict is Verdict.FAIL}
    failed |= {one.name for one in found.checks if one.outcome is Verdict.FAIL}
    assert named <= failed, found.lines()
    assert all(name in found.summary for name in named)
    if cut:
        assert "rows-not-charged" not in failed


@pytest.mark.parametrize("place", [slice(1024, 1056), slice(0, None, 4)], ids=["32 neighbours", "every fourth"])
def test_places_that_were_not_flooded_fail_though_the_noise_is_large(compiled: Any, place: slice) -> None:
    plan, secret = compiled.public.plan, compiled.evaluator.secret

    def sends(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
        moduli, source = plan.parameters.moduli, SecureRandom()
        zeros = encryptions_of_zero(source, keys.public, count=plan.outputs, moduli=moduli, form="coefficients")
        found = add(unsafe_sums(columns, plan=plan, secret=secret), zeros, moduli=moduli)
        noise = flooding(source, (plan.outputs, plan.parameters.degree), bits=plan.flood_bits, moduli=moduli)
        noise[..., place] = 0
        found[:, 0] = add(np.ascontiguousarray(found[:, 0]), noise, moduli=moduli)
        for left in range(len(moduli), 1, -1):
            found = divide_by_last(found, moduli=moduli[:left], form="coefficients")
        found[:, 0, :, rows:] = 0
        return tuple(Ciphertext(parameters=plan.parameters, parts=one, form="coefficients") for one in found)

    found = audit_encrypted(Broken(compiled.public, secret, sends))
    assert {one.name for one in found.checks if one.outcome is Verdict.FAIL} == {"flooding-everywhere"}, found.lines()
    assert found.verdict is Verdict.FAIL


def test_flooding_that_is_the_same_in_every_answer_fails(compiled: Any) -> None:
    plan, secret = compiled.public.plan, compiled.evaluator.secret
    moduli, source = plan.parameters.moduli, SecureRandom()
    noise = flooding(source, (plan.outputs, plan.parameters.degree), bits=plan.flood_bits, moduli=moduli)

    def sends(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
        zeros = encryptions_of_zero(source, keys.public, count=plan.outputs, moduli=moduli, form="coefficients")
        found = add(unsafe_sums(columns, plan=plan, secret=secret), zeros, moduli=moduli)
        found[:, 0] = add(np.ascontiguousarray(found[:, 0]), noise, moduli=moduli)
        for left in range(len(moduli), 1, -1):
            found = divide_by_last(found, moduli=moduli[:left], form="coefficients")
        found[:, 0, :, rows:] = 0
        return tuple(Ciphertext(parameters=plan.parameters, parts=one, form="coefficients") for one in found)

    found = audit_encrypted(Broken(compiled.public, secret, sends))
    assert {one.name for one in found.checks if one.outcome is Verdict.FAIL} == {"fresh-flooding"}, found.lines()


def network(squares: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(4)
    layers: list[Any] = []
    if squares:
        layers.append(Affine(weights=generator.normal(size=(5, 4)) / 2, offset=generator.normal(size=5)))
        layers.append(Polynomial(coefficients=(0.2, 0.5, 1.0), units=5))
    width = 5 if squares else 4
    layers.append(Affine(weights=generator.normal(size=(3, width)), offset=generator.normal(size=3)))
    meaning = Meaning(gives="logits", classes=("a", "b", "c"))
    program = Program(input_shape=(4,), layers=tuple(layers), meaning=meaning)
    plan, secret = plan_network(program, generator.normal(size=(300, 4)))
    return SimpleNamespace(plan=plan, meaning=meaning, digest=bytes(32)), secret


def protected(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
    found = replies(columns, keys, plan=served.public.plan, secret=served.secret)
    return tuple(withheld(one, rows) for one in found)


def bare(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
    return unsafe_replies(columns, keys, plan=served.public.plan, secret=served.secret)


@pytest.mark.parametrize("squares", [0, 1])
def test_a_networks_bare_replies_give_its_gradient_and_protected_ones_nothing(squares: int) -> None:
    public, secret = network(squares)
    found = audit_encrypted(Broken(public, secret, protected))
    assert found.verdict is Verdict.PASS, found.lines()
    beneath = found.techniques[0]
    size = 3 * 4  # derivatives; of a network of one layer, its weights
    assert (beneath.control.recovered, beneath.control.of) == (size, size)
    assert beneath.sent.recovered == 0
    assert found.scores.rows == (
        5 if squares == 0 else 15
    )  # with squares, as many as polynomials of degree 2 have terms
    # Enough rounded outputs of rows that a client may choose give a copy, whatever the replies hide.
    assert found.scores.asked == (5 if squares == 0 else 30)
    assert found.scores.agreement is not None
    assert found.scores.agreement > 0.95
    assert found.scores.explained is not None
    assert found.scores.explained > 0.999
    broken = audit_encrypted(Broken(public, secret, bare))
    assert broken.verdict is Verdict.FAIL
    assert broken.techniques[0].sent.recovered == size
    failed = {one.name for one in broken.checks if one.outcome is Verdict.FAIL}
    assert failed == {"flooding", "fresh-flooding", "fresh-mask", "no-repeats"}


def test_a_network_by_diagonals_shows_its_partial_sums_in_bare_replies_alone() -> None:
    generator = np.random.default_rng(7)
    layers = (
        Affine(weights=generator.normal(size=(4, 3)) / 2, offset=generator.normal(size=4), name="hidden"),
        Polynomial(coefficients=(0.2, 0.5, 1.0), units=4),
        Affine(weights=generator.normal(size=(2, 4)), offset=generator.normal(size=2), name="head"),
    )
    meaning = Meaning(gives="logits", classes=("a", "b"))
    plan, secret = plan_diagonal(
        Program(input_shape=(3,), layers=layers, meaning=meaning), generator.normal(size=(300, 3))
    )
    public = SimpleNamespace(plan=plan, meaning=meaning, digest=bytes(32))

    ready: dict[int, Any] = {}  # as a service keeps them

    def sends(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
        if id(keys) not in ready:
            ready[id(keys)] = gathered(plan, keys)
        return diagonal.replies(columns, ready[id(keys)], plan=plan, secret=secret)

    def leaves_bare(served: Broken, columns: Any, keys: Any, rows: int) -> tuple[Ciphertext, ...]:
        if id(keys) not in ready:
            ready[id(keys)] = gathered(plan, keys)
        return diagonal.unsafe_replies(columns, ready[id(keys)], plan=plan, secret=secret)

    found = audit_encrypted(Broken(public, secret, sends))
    assert found.verdict is Verdict.PASS, found.lines()
    assert [one.name for one in found.techniques] == ["beneath-the-step", "partial-sums"]
    assert (found.techniques[0].control.recovered, found.techniques[0].sent.recovered) == (6, 0)
    assert found.scores.rows == 10  # terms of degree 2 in three numbers
    assert found.scores.agreement is not None
    assert found.scores.agreement > 0.95
    broken = audit_encrypted(Broken(public, secret, leaves_bare))
    assert [one.verdict for one in (*broken.techniques,)] == [Verdict.FAIL] * 2
    assert {one.name for one in broken.checks if one.outcome is Verdict.FAIL} == {
        *("flooding", "fresh-mask", "no-repeats")
    }


def test_a_model_of_another_kind_is_refused(compiled: Any) -> None:
    other = Broken(SimpleNamespace(plan=object()), None, bare)
    with pytest.raises(UsageError, match="not audited"):
        audit_encrypted(other)


def test_an_attack_whose_control_fails_proves_nothing() -> None:
    blind = Finding(share=Share(slope=0.1, deviation=1.0, equations=100))
    seen = Finding(share=Share(slope=1.0, deviation=0.01, equations=100))
    told = {"name": "one", "goal": "", "reference": "", "control_on": ""}
    assert Technique(**told, control=blind, sent=blind).verdict is Verdict.INCONCLUSIVE
    assert Technique(**told, control=seen, sent=blind).verdict is Verdict.PASS
    assert Technique(**told, control=blind, sent=seen).verdict is Verdict.FAIL
    half = Finding(share=Share(slope=0.5, deviation=0.01, equations=100))
    assert Technique(**told, control=half, sent=blind).verdict is Verdict.INCONCLUSIVE
    assert not Finding(recovered=0, of=9).complete
    assert Finding(recovered=9, of=9).complete


def test_several_outputs_are_solved_by_one_elimination() -> None:
    generator, prime = np.random.default_rng(5), 33_538_049
    weights = generator.integers(-1000, 1000, size=(3, 12))
    sent = generator.integers(0, prime, size=(12, 64)).astype(np.uint32)
    replied = (weights @ sent.astype(object) % prime).astype(np.uint32)
    found = all_from_masks(sent, replied, prime=prime)
    assert all(one.consistent for one in found)
    np.testing.assert_array_equal(np.stack([one.weights for one in found]), weights)
    replied[1, 40] ^= 1  # one spare equation of one output is wrong
    assert [one.consistent for one in all_from_masks(sent, replied, prime=prime)] == [True, False, True]
    assert not all_from_masks(np.ones((12, 64), dtype=np.uint32), replied, prime=prime)[0].consistent


def test_standard_errors_are_those_of_repeated_trials() -> None:
    """Of 400 trials the deviation is known within 18 %, at five of its own deviations (2.9e-7 each way)."""
    generator = np.random.default_rng(6)
    known, truth = generator.normal(size=(4, 200)), generator.normal(size=(2, 4))
    trials = [least_squares(known, truth @ known + 7 + generator.normal(size=(2, 200))) for _ in range(400)]
    off = np.stack([one.values - truth for one in trials])
    claimed = np.mean([one.deviations for one in trials], axis=0)
    assert np.abs(off.std(axis=0) / claimed - 1).max() < 0.18
    slopes = [
        share_of(truth @ known, 0.5 * truth @ known + generator.normal(scale=9.0, size=(2, 200))) for _ in range(400)
    ]
    spread = np.std([one.slope for one in slopes])
    assert abs(spread / np.mean([one.deviation for one in slopes]) - 1) < 0.18
    assert abs(np.mean([one.slope for one in slopes]) - 0.5) < 5 * spread / 20


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(ValueError, match="eight equations to spare"):
        least_squares(np.zeros((4, 11)), np.zeros((1, 11)))
    with pytest.raises(ValueError, match="nothing into the replies"):
        share_of(np.ones((2, 50)), np.zeros((2, 50)))
    assert np.isinf(least_squares(np.ones((2, 50)), np.ones((1, 50))).deviations).all()


def test_the_command_tells_the_verdict_by_its_exit_code(compiled: Any, tmp_path: Path) -> None:
    write_model(tmp_path / "model", compiled.public, compiled.weights)
    words = [
        "he",
        "audit",
        str(tmp_path / "model"),
        "--quiet",
        "--format",
        "json",
        "--out",
        str(tmp_path / "found.json"),
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["verdict"]["outcome"] == "pass"
    assert told["digest"] == compiled.public.digest.hex()
    assert told["scores_alone"]["rows"] == FEATURES + 1
    assert json.loads((tmp_path / "found.json").read_bytes())["digest"] == told["digest"]
    text = CliRunner().invoke(cli, words[:4])
    assert text.exit_code == 0
    assert text.stdout.startswith("PASS: ")


def test_a_compiled_network_is_audited_by_the_command(tmp_path: Path) -> None:
    generator = np.random.default_rng(9)
    layers = (
        Affine(weights=generator.normal(size=(3, 2)), offset=generator.normal(size=3), name="hidden"),
        Polynomial(coefficients=(0.0, 0.0, 1.0), units=3),
        Affine(weights=generator.normal(size=(1, 3)), offset=generator.normal(size=1), name="head"),
    )
    meaning = Meaning(gives="decision", classes=("no", "yes"), link="sigmoid")
    program = Program(input_shape=(2,), layers=layers, meaning=meaning)
    compiled = compile_model(program, generator.normal(size=(300, 2)), agreement=0.98)
    write_model(tmp_path, compiled.public, compiled.weights)
    done = CliRunner().invoke(cli, ["he", "audit", str(tmp_path), "--quiet", "--format", "json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["kind"] == "network"
    assert told["techniques"][0]["control"]["recovered"] == 2  # derivatives of one output
    assert told["techniques"][0]["sent"]["recovered"] == 0
    assert told["scores_alone"]["rows"] == 6  # terms of degree 2 in two numbers
    assert any("hidden layers" in one for one in told["not_covered"])
