"""Model files as a stranger might send them: each is refused, and with one of our errors."""

import json
import os
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardline.core import DataError, IntegrityError, canonical_json, digest_bytes
from wardline.models import Mlp, TrainedModel, build, load, pack_tensors, save, unpack_tensors

ARCHITECTURE = Mlp(inputs=3, hidden=(2,), classes=2)


@pytest.fixture
def folder(tmp_path):
    parameters = {name: value.detach().numpy() for name, value in build(ARCHITECTURE).named_parameters()}
    model = TrainedModel(
        architecture=ARCHITECTURE, parameters=parameters, features=("a", "b", "c"), classes=("no", "yes")
    )
    save(model, tmp_path)
    return tmp_path


def forge(folder, *, weights=None, **changes):
    """Write other weights or another description, with matching digests: the attacker can compute those too."""
    description = json.loads((folder / "model.json").read_bytes())
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
        description["weights_sha256"] = digest_bytes(weights)
    description.update(changes)
    (folder / "model.json").write_bytes(canonical_json(description))


def tensors(folder):
    return safetensors.numpy.load((folder / "model.safetensors").read_bytes())


def test_the_forger_can_write_a_model_that_loads(folder):
    # The control: what the tests below refuse is refused for what is wrong in it, not for having been forged.
    forge(folder, weights=pack_tensors({name: value + 1 for name, value in tensors(folder).items()}))
    assert load(folder).predict(np.zeros((1, 3), np.float32)).shape == (1,)


def reheader(data, change):
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    text = change(header)
    text = text if isinstance(text, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _set(name, key, value):
    return lambda header: header[name].__setitem__(key, value)


def _overlap(header):
    header["head.bias"]["data_offsets"] = header["dense0.bias"]["data_offsets"]


HEADERS = {
    "wrong type": _set("head.bias", "dtype", "F16"),
    "unknown type": _set("head.bias", "dtype", "PICKLE"),
    "wrong shape": _set("head.weight", "shape", [4]),
    "shape of booleans": _set("head.bias", "shape", [True, 2]),
    "shape as floats": _set("head.bias", "shape", [2.0]),
    "huge shape": _set("head.weight", "shape", [1 << 40, 1 << 40]),
    "negative offset": _set("head.bias", "data_offsets", [-8, 0]),
    "offsets beyond the file": _set("head.bias", "data_offsets", [1 << 50, (1 << 50) + 8]),
    "offsets as text": _set("head.bias", "data_offsets", ["0", "8"]),
    "overlap": _overlap,
    "one more key in an entry": _set("head.bias", "path", "/etc/passwd"),
    "missing tensor": lambda header: header.pop("head.bias"),
    "extra tensor": lambda header: header.__setitem__("extra", header["head.bias"]),
    "entry is a list": lambda header: header.__setitem__("head.bias", []),
    "metadata": lambda header: header.__setitem__("__metadata__", {"note": "hidden"}),
    "metadata not text": lambda header: header.__setitem__("__metadata__", {"note": 1}),
    "not an object": lambda header: b"[]",
    "not JSON": lambda header: b"{",
    "deep": lambda header: b"[" * 100_000,
    "not UTF-8": lambda header: b"\xff\xfe",
    "doubled key": lambda header: json.dumps(header).encode()[:-1] + b',"head.bias":{}}',
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS.keys())
def test_a_changed_header_is_refused(folder, change):
    forge(folder, weights=reheader((folder / "model.safetensors").read_bytes(), change))
    with pytest.raises(IntegrityError):
        load(folder)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 20) + 1, 1 << 62, (1 << 64) - 1])
def test_a_header_length_that_lies_is_refused(folder, length):
    data = (folder / "model.safetensors").read_bytes()
    forge(folder, weights=struct.pack("<Q", length) + data[8:])
    with pytest.raises(IntegrityError):
        load(folder)


def test_every_truncation_is_refused(folder):
    data = (folder / "model.safetensors").read_bytes()
    for length in range(len(data)):
        forge(folder, weights=data[:length])
        with pytest.raises(IntegrityError):
            load(folder)


def test_bytes_behind_the_tensors_are_refused(folder):
    forge(folder, weights=(folder / "model.safetensors").read_bytes() + b"MZ")
    with pytest.raises(IntegrityError, match="end where the file ends"):
        load(folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(folder, bad):
    values = {name: value.copy() for name, value in tensors(folder).items()}
    values["dense0.weight"][0, 0] = bad
    forge(folder, weights=pack_tensors(values))
    with pytest.raises(IntegrityError, match="not finite"):
        load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"kind": "pickle"}},
        {"architecture": "../../other/model.json"},
        {"architecture": {"kind": "mlp", "inputs": 4, "hidden": [2], "classes": 2, "linear_inputs": 0}},
        {"architecture": {"kind": "logistic", "inputs": 1 << 20, "classes": 1 << 20, "linear_inputs": 0}},
        {"features": ["a", "b"]},
        {"features": "abc"},
        {"classes": [1, 2]},
        {"classes": None},
        {"schema": "wardline.model/2"},
        {"weights_file": "/etc/passwd"},
        {"weights_sha256": "0" * 64},
        {"weights_sha256": None},
    ],
)
def test_another_description_is_refused(folder, changes):
    forge(folder, **changes)
    with pytest.raises(IntegrityError):
        load(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 200_000,
        b'{"schema":NaN}',
        b'{"schema":' + b"9" * 5000 + b"}",
        b"\x80\x04\x95",
    ],
)
def test_a_description_that_is_not_ours_is_refused(folder, text):
    (folder / "model.json").write_bytes(text)
    with pytest.raises(IntegrityError):
        load(folder)


def test_a_description_in_another_spelling_is_refused(folder):
    text = (folder / "model.json").read_bytes()
    for other in (text + b"\n", text.replace(b'"a"', b'"\\u0061"'), text.replace(b'{"archi', b'{"schema":1,"archi')):
        assert json.loads(other)
        (folder / "model.json").write_bytes(other)
        with pytest.raises(IntegrityError, match="canonical"):
            load(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_links_pipes_and_folders_are_not_opened(folder, name):
    elsewhere = folder.parent / f"{folder.name}-elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(DataError, match="cannot read"):
        load(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(IntegrityError, match="regular file"):
        load(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(IntegrityError, match="regular file"):
        load(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_huge_file_is_refused_before_it_is_read(folder, name):
    with (folder / name).open("r+b") as file:
        file.truncate(1 << 40)  # sparse: it takes no room, but reading it would never end
    with pytest.raises(IntegrityError, match="larger"):
        load(folder)


SMALL = pack_tensors({"w": np.arange(4, dtype=np.float32)})


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_no_flipped_byte_makes_the_reader_fail_otherwise(position, mask):
    data = bytearray(SMALL)
    data[position] ^= mask
    try:
        values, _ = unpack_tensors(bytes(data), shapes={"w": (4,)})
    except IntegrityError:
        return
    assert values["w"].shape == (4,)
    assert np.isfinite(values["w"]).all()


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(data):
    with pytest.raises(IntegrityError):
        unpack_tensors(data, shapes={"w": (4,)})
