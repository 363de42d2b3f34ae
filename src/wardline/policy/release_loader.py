"""Reading the file of a release: hostile bytes in, a checked value with the line of each key out, or one error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from wardline.core import digest_bytes
from wardline.policy.catalogue import Catalogue
from wardline.policy.loader import decode, error_of, place_of, read_file
from wardline.policy.problems import KeyPath, Problem
from wardline.policy.release_spec import ReleaseSpec
from wardline.policy.validate import worded
from wardline.policy.yaml_tree import read_tree

RELEASE = Catalogue.of(ReleaseSpec, unit=("unit",))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRelease:
    """The file of a release and where it came from.

    Attributes:
        spec: what it says.
        path: its file.
        sha256: digest of its bytes, 64 hexadecimal digits.
        lines: the line of each key and list entry, counted from 1.
    """

    spec: ReleaseSpec
    path: Path
    sha256: str
    lines: Mapping[KeyPath, int] = field(repr=False)

    def place(self, *path: str | int) -> str:
        """Where a key stands, or else what holds it, for error messages: ``release.yaml:12``."""
        return place_of(self.path.name, self.lines, path)


def load_release(path: Path) -> LoadedRelease:
    """Read and check the file of a release.

    Args:
        path: the file, UTF-8, at most 1 MiB.

    Raises:
        PolicyError: if it cannot be read or understood; everything that the schema finds wrong comes at once.
    """
    return parse_release(read_file(path), path=path)


def parse_release(data: bytes, *, path: Path = Path("release.yaml")) -> LoadedRelease:
    """Check the file of a release that is in memory; as `load_release`, without touching the disk.

    Args:
        data: the file's bytes.
        path: what error messages call it.

    Raises:
        PolicyError: as `load_release`.
    """
    tree = read_tree(decode(data, path.name), name=path.name)
    version = tree.value.get("schema")
    if isinstance(version, int) and not isinstance(version, bool) and version != 1:
        # Whatever else looks wrong may be right in that version.
        other = Problem(
            path=("schema",),
            message=f"is version {version}; this wardline reads version 1",
            hint="write 1, or install a wardline that reads that version",
        )
        raise error_of([other], path.name, tree.lines)
    try:
        spec = ReleaseSpec.model_validate(tree.value)
    except ValidationError as error:
        raise error_of(worded(error, RELEASE), path.name, tree.lines) from None
    return LoadedRelease(spec=spec, path=path, sha256=digest_bytes(data), lines=tree.lines)
