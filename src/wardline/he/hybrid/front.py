"""The front of a split model: what a client runs in the clear, and how it is written, without any code in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, IntegrityError, digest_bytes, digest_value, make_folder, need, write_atomic
from wardline.he.compiler.layers import Activation, Polynomial
from wardline.he.compiler.program import Program
from wardline.he.compiler.store import DESCRIPTION_FILE, WEIGHTS_FILE, program_files, program_from_files

Floats: TypeAlias = npt.NDArray[np.float64]

FRONT_FILE, FRONT_WEIGHTS_FILE = "front.json", "front.safetensors"
_MOST_DESCRIPTION_BYTES = 1 << 22
_MOST_WEIGHTS_BYTES = 1 << 30


class Front(Protocol):
    """What a client computes in the clear before it encrypts."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a row."""
        ...

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of its features, before they are flattened."""
        ...

    @property
    def parameters(self) -> int:
        """Numbers that it holds, all of which the client gets."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of its files, 64 hexadecimal digits."""
        ...

    def features(self, x: npt.NDArray[Any]) -> Floats:
        """Features of rows: [rows, *input_shape] (or flattened) to [rows, features]."""
        ...

    def files(self) -> dict[str, bytes]:
        """Its two files, by name: the same bytes for the same front."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramFront:
    """Layers of a program, in 64-bit numbers; a client needs no torch to compute them.

    Attributes:
        program: whose outputs are the features.
        digest: of its files.
    """

    program: Program
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", files_digest(self.files()))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a row."""
        return self.program.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of its features: always flat."""
        return (self.program.outputs,)

    @property
    def parameters(self) -> int:
        """Numbers that it holds."""
        return program_parameters(self.program)

    def features(self, x: npt.NDArray[Any]) -> Floats:
        """Features of rows, [rows, features].

        Raises:
            ValueError: for rows of another shape, or numbers that are not finite.
        """
        return self.program.evaluate(x)

    def files(self) -> dict[str, bytes]:
        """As `wardline.he.compiler.store.program_files`."""
        return program_files(self.program)


def program_parameters(program: Program) -> int:
    """Numbers of a program: weights, offsets, coefficients of polynomials."""
    found = 0
    for layer in program.layers:
        match layer:
            case Polynomial():
                found += sum(one not in (0.0, 1.0) for one in layer.coefficients)  # a square has nothing of its own
            case Activation():
                pass
            case _:
                found += layer.coefficients.size + layer.offset.size
    return found


def feature_names(front: Front) -> tuple[str, ...]:
    """Names of the features, which tie a compiled back to this very front: its digest stands in them."""
    return tuple(f"front {front.digest[:16]} feature {index}" for index in range(math.prod(front.output_shape)))


def check_front(front: Front, features: Sequence[str]) -> None:
    """Refuse a front that is not the one that a compiled back was made for.

    Args:
        front: what the client would run.
        features: of the compiled back's public part.

    Raises:
        IntegrityError: if it is another one.
    """
    if tuple(features) != feature_names(front):
        raise IntegrityError(
            "the front is not the one that this encrypted model was made for", hint="get both from the model's owner"
        )


def save_front(front: Front, folder: Path) -> tuple[Path, ...]:
    """Write a front for its clients, the description last.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    make_folder(folder)
    files = front.files()
    paths = tuple(folder / name for name in reversed(list(files)))
    for path in paths:
        write_atomic(path, files[path.name])
    return paths


def load_front(folder: Path) -> Front:
    """Read a front that `save_front` wrote, from files that a stranger may have sent.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are no front, or do not belong together.

    Guarantee: nothing in the files is run. Layers are those of a list, their settings are bounded, and no more than
    2^26 numbers are made for parameters, or for a row in any layer. What such layers compute is the sender's choice: a
    front can be made to give features that say of a row what it should not, and the scores of a wrong front are wrong.
    """
    if (folder / FRONT_FILE).exists():
        reader = need("wardline.he.hybrid.torch_front", extra="torch")
        found: Front = reader.torch_front(_read(folder, (FRONT_FILE, FRONT_WEIGHTS_FILE)), where=str(folder))
        return found
    return ProgramFront(program=program_from_files(_read(folder, (DESCRIPTION_FILE, WEIGHTS_FILE)), where=str(folder)))


def _read(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    files = {}
    for name, limit in zip(names, (_MOST_DESCRIPTION_BYTES, _MOST_WEIGHTS_BYTES), strict=True):
        try:
            with (folder / name).open("rb") as file:
                files[name] = file.read(limit + 1)
        except OSError as error:
            raise DataError(
                f"the front's {name} cannot be read", where=str(folder), hint="name the folder that it was saved in"
            ) from error
        if len(files[name]) > limit:
            raise IntegrityError(f"{name} has more than {limit} bytes", where=str(folder))
    return files


def files_digest(files: Mapping[str, bytes]) -> str:
    """One SHA-256 for the files of a front, 64 hexadecimal digits."""
    return digest_value({name: digest_bytes(data) for name, data in files.items()})
