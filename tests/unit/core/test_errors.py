"""The error tree: every error is documented, told apart by its code, and says where and what to do."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from wardline.core import MissingExtraError, WardlineError, errors, need


def _tree(root: type[WardlineError] = WardlineError) -> list[type[WardlineError]]:
    own = [one for one in root.__subclasses__() if one.__module__.startswith("wardline.")]
    return [root, *(child for one in own for child in _tree(one))]


LEAVES = [one for one in _tree() if one is not WardlineError]


def test_codes_are_unique_and_have_one_form() -> None:
    codes = [one.code for one in LEAVES]
    assert len(codes) == len(set(codes)) >= 9
    assert all(re.fullmatch(r"WL-E[1-9]\d\d", code) for code in codes)


@pytest.mark.parametrize("error", LEAVES, ids=lambda one: one.__name__)
def test_each_error_stands_in_the_drawing_with_its_code_and_exit_code(error: type[WardlineError]) -> None:
    assert re.search(rf"{error.__name__}\s+{error.exit_code}\s+{error.code}\s+\S", errors.__doc__ or "")


@pytest.mark.parametrize("error", LEAVES, ids=lambda one: one.__name__)
def test_each_error_has_a_remedy_and_an_exit_code_that_is_not_a_pass(error: type[WardlineError]) -> None:
    assert "Remedy:" in (inspect.getdoc(error) or "")
    assert error.exit_code in (1, 2, 3)
    assert "code" in vars(error), "a code of its own, not its parent's"
    assert "exit_code" in vars(error)


def test_the_drawing_names_no_error_that_does_not_exist() -> None:
    drawn = set(re.findall(r"\b(\w+Error)\b", errors.__doc__ or "")) - {"ValueError", "TypeError"}
    assert drawn == {one.__name__ for one in _tree()}


@pytest.mark.parametrize("error", LEAVES, ids=lambda one: one.__name__)
def test_an_error_carries_its_place_and_remedy_even_between_processes(error: type[WardlineError]) -> None:
    made = error("something is wrong", where="policy.yaml:12", hint="correct it")
    again = pickle.loads(pickle.dumps(made))
    for one in (made, again):
        assert str(one) == "policy.yaml:12: something is wrong"
        assert (one.message, one.where, one.hint, type(one)) == (
            "something is wrong",
            "policy.yaml:12",
            "correct it",
            error,
        )
    assert str(error("something is wrong")) == "something is wrong"


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match="this needs module_that_nobody_has, which is not installed") as caught:
        need("module_that_nobody_has.part", extra="data")
    assert caught.value.hint == "pip install 'wardline[data]'"
    assert need("json.decoder", extra="data").__name__ == "json.decoder"
