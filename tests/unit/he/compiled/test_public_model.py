"""The public part: one spelling, read strictly, without a weight in it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, UsageError, canonical_json
from wardline.he.compiled.compiling import Compiled
from wardline.he.compiled.public_model import PublicModel
from wardline.he.frames.columns import write_columns
from wardline.he.frames.session import Binding, Session


def test_it_is_read_as_it_was_written(compiled: Compiled) -> None:
    public = compiled.public
    again = PublicModel.from_bytes(public.to_bytes())
    assert again.to_bytes() == public.to_bytes()
    assert again.digest == public.digest
    assert again.plan.step == public.plan.step
    assert np.array_equal(again.plan.centre, public.plan.centre)
    assert (again.features, again.meaning, again.out_of_range) == (public.features, public.meaning, public.out_of_range)


def test_no_weight_stands_in_it(compiled: Compiled) -> None:
    text = compiled.public.to_bytes()
    for number in [*compiled.evaluator.secret.weights.ravel(), *compiled.evaluator.secret.bias.ravel()]:
        assert str(int(number)).encode() not in text
    assert compiled.weights.content.hex().encode() not in text
    assert "weights=" not in repr(compiled.evaluator)


def changed(compiled: Compiled, *path: Any, to: object) -> bytes:
    value = json.loads(compiled.public.to_bytes())
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return canonical_json(value)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("schema",), "wardline compiled model/1"),
        (("plan", "outputs"), 3),
        (("plan", "outputs"), True),
        (("plan", "flood_bits"), 39),
        (("plan", "flood_bits"), 75),
        (("plan", "weight_scale"), 1e308),
        (("plan", "weight_scale"), 5e-324),
        (("plan", "worst"), 0),
        (("plan", "worst"), "1"),
        (("plan", "units"), [1.0]),
        (("plan", "units", 0), 0.3),
        (("plan", "units", 0), 2.0),
        (("plan", "parameters", "degree"), 2048),
        (("plan", "parameters", "plain_modulus"), None),
        (("features",), []),
        (("plan", "half_width", 0), 0),
        (("plan", "half_width"), [1.0]),
        (("plan", "centre", 0), None),
        (("features", 0), "y"),
        (("features", 0), ""),
        (("features", 0), 1),
        (("meaning", "classes"), "ab"),
        (("meaning", "classes"), ["left"]),
        (("meaning", "gives"), "oracle"),
        (("out_of_range",), "ignore"),
        (("weights_sha256",), "00"),
        (("weights_sha256",), "Z" * 64),
    ],
)
def test_what_does_not_fit_is_refused(compiled: Compiled, path: tuple[Any, ...], to: object) -> None:
    with pytest.raises(IntegrityError):
        PublicModel.from_bytes(changed(compiled, *path, to=to))


def test_other_kinds_are_refused_by_name(compiled: Compiled) -> None:
    with pytest.raises(UsageError, match="none of linear, network"):
        PublicModel.from_bytes(changed(compiled, "kind", to="oracle"))
    with pytest.raises(IntegrityError):
        PublicModel.from_bytes(changed(compiled, "kind", to="network"))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), length=st.integers(0, 3))
def test_any_change_is_refused_or_another_model(compiled: Compiled, place: int, byte: int, length: int) -> None:
    data = compiled.public.to_bytes()
    at = place % len(data)
    broken = data[:at] + bytes([byte]) * length + data[at + 1 :]
    try:
        found = PublicModel.from_bytes(broken)
    except (IntegrityError, UsageError):
        return
    assert (found.digest == compiled.public.digest) == (broken == data)


def test_limits_let_its_own_frames_through_and_little_more(compiled: Compiled) -> None:
    columns, _ = compiled.evaluator.blank()
    frame = write_columns(columns, session=Session.generate(), binding=Binding.fresh())
    assert len(frame) <= compiled.public.limits.frame_bytes <= 2 * len(frame)


def test_parts_must_fit(compiled: Compiled) -> None:
    with pytest.raises(ValueError, match="name of its own"):
        replace(compiled.public, features=("x", "y"))
    with pytest.raises(ValueError, match="clip or refuse"):
        replace(compiled.public, out_of_range="ignore")
