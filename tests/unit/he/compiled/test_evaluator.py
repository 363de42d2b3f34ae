"""The linear evaluator takes what its plan says, and answers what was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wardline.core import IntegrityError
from wardline.he.ciphertext import SeededColumns
from wardline.he.compiled.compiling import Compiled
from wardline.he.compiled.evaluator import LinearEvaluator
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.parameters import Parameters, find_primes


def test_rows_that_were_not_asked_for_are_left_out(compiled: Compiled) -> None:
    columns, keys = compiled.evaluator.blank()
    for one in compiled.evaluator.evaluate(columns, expand_keys(keys), rows=10):
        assert (one.parts[0, :, 10:] == 0).all()
        assert (one.parts[0, :, :10] != 0).any()
    for one in compiled.evaluator.evaluate(columns, expand_keys(keys), rows=4096):
        assert (one.parts[0, :, 10:] != 0).any(), "the control: they are there when they are asked for"
    for rows in (0, 4097):
        with pytest.raises(ValueError, match="rows must be"):
            compiled.evaluator.evaluate(columns, expand_keys(keys), rows=rows)


def test_other_columns_and_keys_are_refused(compiled: Compiled) -> None:
    columns, keys = compiled.evaluator.blank()
    fewer = replace(columns, c0=columns.c0[:2], seeds=columns.seeds[:2])
    dropped = replace(columns, dropped_bits=9)
    lower = replace(columns, c0=np.ascontiguousarray(columns.c0[:, :2]))
    for wrong in (fewer, dropped, lower):
        with pytest.raises(IntegrityError):
            compiled.evaluator.evaluate(wrong, expand_keys(keys), rows=1)
    other = Parameters(scheme="bfv", degree=4096, moduli=find_primes(4096, (30, 30, 30)), plain_modulus=1 << 40)
    foreign = replace(keys, parameters=other, public=np.zeros((2, 3, 4096), dtype=np.uint32))
    with pytest.raises(IntegrityError):
        compiled.evaluator.check_keys(foreign)
    with pytest.raises(IntegrityError):
        compiled.evaluator.evaluate(columns, expand_keys(foreign), rows=1)
    moved = SeededColumns(parameters=other, seeds=columns.seeds, c0=columns.c0, form="coefficients")
    with pytest.raises(IntegrityError):
        compiled.evaluator.check_columns(moved)


def test_weights_must_fit_the_plan(compiled: Compiled) -> None:
    secret = compiled.evaluator.secret
    with pytest.raises(ValueError, match="do not fit"):
        LinearEvaluator(public=compiled.public, secret=replace(secret, bias=secret.bias[:1]))
