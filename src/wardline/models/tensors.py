"""Tensors as bytes: safetensors, read as if a stranger had written them.

The format is the library's (safetensors); what is here judges a header before the library sees it. Whoever
reads knows beforehand which tensors there must be, of which shape and type, so there is nothing to
discover: anything else is refused, and a few kilobytes of header never make anybody allocate gigabytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from wardline.core import IntegrityError

MAX_HEADER_BYTES = 1 << 20
"""The longest header that is read."""

_CODES: Mapping[str, tuple[str, int]] = {"float32": ("F32", 4), "float64": ("F64", 8)}


def pack_tensors(tensors: Mapping[str, npt.NDArray[Any]], *, metadata: Mapping[str, str] | None = None) -> bytes:
    """The tensors as safetensors bytes, the same bytes for the same tensors."""
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    data: bytes = safetensors.numpy.save(contiguous, dict(metadata) if metadata else None)
    return data


def unpack_tensors(
    data: bytes,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str = "float32",
    where: str = "",
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The tensors that `pack_tensors` wrote, and their metadata.

    Args:
        data: the bytes, trusted in nothing.
        shapes: exactly the tensors that must be there.
        dtype: their common type, ``float32`` or ``float64``.
        where: named in errors, for example a file.

    Raises:
        IntegrityError: if the bytes are anything but these tensors, or hold a number that is not finite.
    """
    metadata = _check_header(data, shapes, dtype, where)
    try:
        tensors: dict[str, npt.NDArray[Any]] = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _refused("the safetensors library refuses it", where) from error
    for name in shapes:
        if not np.isfinite(tensors[name]).all():
            raise _refused(f"tensor {name} holds a number that is not finite", where)
    return tensors, metadata


def _refused(reason: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"not a file of the tensors expected: {reason}", where=where, hint="get it again from its source"
    )


def _check_header(data: bytes, shapes: Mapping[str, tuple[int, ...]], dtype: str, where: str) -> dict[str, str]:
    if len(data) < 8:
        raise _refused("it is too short", where)
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER_BYTES:
        raise _refused(f"its header claims more than {MAX_HEADER_BYTES} bytes", where)
    if len(data) < 8 + length:
        raise _refused("it ends within its header", where)
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _refused("its header is not JSON with each key once", where) from error
    if not isinstance(header, dict):
        raise _refused("its header is not an object", where)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused("its metadata are not text", where)
    if set(header) != set(shapes):
        raise _refused("tensors are missing or too many", where)
    code, width = _CODES[dtype]
    spans = []
    for name, shape in shapes.items():
        entry = header[name]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _refused(f"the entry of tensor {name} is malformed", where)
        # repr, because 1 == True == 1.0 and none of the others is a size.
        if entry["dtype"] != code or repr(entry["shape"]) != repr(list(shape)):
            raise _refused(f"tensor {name} has another type or shape than its architecture says", where)
        offsets = entry["data_offsets"]
        if not isinstance(offsets, list) or [type(offset) for offset in offsets] != [int, int]:
            raise _refused(f"the place of tensor {name} is malformed", where)
        if offsets[1] - offsets[0] != width * math.prod(shape):
            raise _refused(f"tensor {name} has another length than its shape", where)
        spans.append((offsets[0], offsets[1]))
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != ends[:-1] or ends[-1] != len(data) - 8 - length:
        raise _refused("its tensors overlap, leave gaps or do not end where the file ends", where)
    return metadata


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result
