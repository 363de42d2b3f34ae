"""Saved models of either kind: found, told apart, digested, and refused alike when a stranger wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import DataError, IntegrityError, canonical_json, digest_bytes
from wardline.models import Mlp, TrainedModel, model_digest, model_files, open_saved, parameter_shapes, save, store
from wardline.models import text_store as texts
from wardline.models.text import TextArchitecture, TextModel
from wardline.models.text_features import TextFeatures

RNG = np.random.default_rng(0)


def _parameters(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


NUMBERS_ARCHITECTURE = Mlp(inputs=3, hidden=(2,), classes=2)
NUMBERS = TrainedModel(
    architecture=NUMBERS_ARCHITECTURE,
    parameters=_parameters(parameter_shapes(NUMBERS_ARCHITECTURE)),
    features=("a", "b", "c"),
    classes=("no", "yes"),
)
TEXT_ARCHITECTURE = TextArchitecture(features=TextFeatures(buckets=256), width=3, hidden=2)
TEXT = TextModel(
    architecture=TEXT_ARCHITECTURE, parameters=_parameters(TEXT_ARCHITECTURE.shapes()), classes=("ham", "spam")
)
SAVE: dict[str, Callable[[Path], tuple[Path, ...]]] = {
    "numbers": lambda folder: save(NUMBERS, folder),
    "text": lambda folder: texts.save_text(TEXT, folder),
}
FILES = {"numbers": model_files(NUMBERS), "text": texts.text_model_files(TEXT)}
FORMATS: dict[str, Any] = {"numbers": store.FORMAT, "text": texts.FORMAT}
KINDS = {"numbers": TrainedModel, "text": TextModel}

both = pytest.mark.parametrize("kind", ["numbers", "text"])


@both
def test_a_model_is_found_by_its_folder_or_either_file_and_has_one_digest(kind, tmp_path):
    paths = SAVE[kind](tmp_path)
    digests = set()
    for path in (tmp_path, *paths):
        model, digest = open_saved(path)
        assert type(model) is KINDS[kind]
        digests |= {digest, model_digest(path)}
    assert len(digests) == 1
    assert len(digests.pop()) == 64


@both
def test_one_other_weight_gives_another_digest(kind, tmp_path):
    SAVE[kind](tmp_path)
    before = model_digest(tmp_path)
    tensors = {name: value.copy() for name, value in {"numbers": NUMBERS, "text": TEXT}[kind].parameters.items()}
    tensors["head.bias"][0] += 1
    description = json.loads(FILES[kind][FORMATS[kind].description_file])
    values = {key: description[key] for key in FORMATS[kind].keys}
    FORMATS[kind].save(tmp_path, FORMATS[kind].pack(values, tensors))
    assert model_digest(tmp_path) != before
    assert open_saved(tmp_path)[1] == model_digest(tmp_path)


def test_a_folder_with_models_of_both_kinds_must_be_told_which(tmp_path):
    first, second = (SAVE[kind](tmp_path) for kind in ("numbers", "text"))
    for ask in (open_saved, model_digest):
        with pytest.raises(DataError, match="two models") as caught:
            ask(tmp_path)
        assert "model.json, text.json" in caught.value.hint
    assert type(open_saved(first[0])[0]) is TrainedModel
    assert type(open_saved(second[1])[0]) is TextModel


def test_what_is_no_saved_model_is_none_and_has_no_digest(tmp_path):
    (tmp_path / "readme.md").write_text("nothing")
    assert open_saved(tmp_path) is None
    assert open_saved(tmp_path / "readme.md") is None
    with pytest.raises(DataError, match="cannot read the model"):
        model_digest(tmp_path)


@both
def test_a_saved_model_that_is_a_folder_in_place_of_a_file_is_refused(kind, tmp_path):
    description, _ = SAVE[kind](tmp_path)
    description.unlink()
    description.mkdir()
    with pytest.raises(IntegrityError, match="regular file"):
        open_saved(tmp_path)


def read(kind: str, description: bytes, **others: bytes) -> Any:
    form = FORMATS[kind]
    return form.unpack(FILES[kind] | {form.description_file: description} | others)


_NUMBERS = st.sampled_from([0, -1, 1, 2, 3, 255, 256, 257, 1 << 20, (1 << 53) - 1, 0.5, 1e300, True, False, None])
_VALUES = st.recursive(
    _NUMBERS | st.text(max_size=4), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner)
)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of each value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, part in inner for path in _paths(part, (*at, key)))]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], new)
    return copy


@both
@settings(max_examples=200)
@given(data=st.data())
def test_a_description_with_any_other_value_anywhere_is_a_model_or_one_clear_error(kind, data):
    description = json.loads(FILES[kind][FORMATS[kind].description_file])
    paths = _paths(description)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(paths))
        try:
            description = _with(description, path, data.draw(_VALUES))
        except (KeyError, IndexError, TypeError):  # the first change took away the place of the second
            continue
    changed = canonical_json(description)
    try:
        model = read(kind, changed)
    except IntegrityError as error:
        told = error
    else:
        # What loads is what the description says, letter by letter.
        again = store.model_files(model) if kind == "numbers" else texts.text_model_files(model)
        assert again[FORMATS[kind].description_file] == changed
        return
    assert str(told).partition(":")[0] in FORMATS[kind].names
    assert told.hint


@both
@settings(max_examples=200)
@given(data=st.data())
def test_flipped_inserted_and_cut_bytes_of_a_description_are_one_clear_error(kind, data):
    original = FILES[kind][FORMATS[kind].description_file]
    at = data.draw(st.integers(0, len(original) - 1))
    way = data.draw(st.sampled_from(["flip", "insert", "cut"]))
    changed = bytearray(original)
    if way == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    elif way == "insert":
        changed[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    else:
        del changed[at : at + data.draw(st.integers(1, 40))]
    try:
        model = read(kind, bytes(changed))
    except IntegrityError:
        return
    # A flipped bit inside a name is another name, and that is all that may come through.
    assert type(model) is KINDS[kind]
    assert canonical_json(json.loads(bytes(changed))) == bytes(changed)


@both
@given(junk=st.binary(max_size=100))
def test_junk_is_one_clear_error(kind, junk):
    with pytest.raises(IntegrityError):
        read(kind, junk)


@both
@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'{"a":' * 100_000, b"9" * 5000, b'"\\ud800"', b"\xef\xbb\xbf{}", b"NaN", b"1e999", b"", b"0"],
)
def test_json_that_breaks_readers_is_one_clear_error(kind, text):
    with pytest.raises(IntegrityError):
        read(kind, text)


@both
def test_the_forger_who_computes_the_digest_too_gets_in_with_sound_weights_alone(kind):
    """The control of the fuzzing: what is refused there is refused for what is wrong in it."""
    form, files = FORMATS[kind], FILES[kind]
    description = json.loads(files[form.description_file])
    weights = bytearray(files[form.weights_file])
    weights[-4:] = np.float32(7).tobytes()
    forged = canonical_json(description | {"weights_sha256": digest_bytes(bytes(weights))})
    assert type(read(kind, forged, **{form.weights_file: bytes(weights)})) is KINDS[kind]
    weights[-4:] = np.float32(np.nan).tobytes()
    forged = canonical_json(description | {"weights_sha256": digest_bytes(bytes(weights))})
    with pytest.raises(IntegrityError, match="not finite"):
        read(kind, forged, **{form.weights_file: bytes(weights)})
