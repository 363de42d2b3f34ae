"""Reading a policy file: hostile bytes in, a checked policy with the line of each key out, or one clear error."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wardline.core import PolicyError, digest_bytes
from wardline.policy.problems import KeyPath, Problem
from wardline.policy.schema import Policy
from wardline.policy.validate import validate
from wardline.policy.yaml_tree import read_tree

MAX_BYTES = 1 << 20
"""The largest policy file, in bytes; one with 1,000 columns has about 60,000."""

_MAX_TOLD = 50  # problems of one file; more would hide the first


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A policy and where it came from.

    Attributes:
        policy: what it says.
        path: its file.
        sha256: digest of its bytes, 64 hexadecimal digits.
        text: its text, comments included.
        lines: the line of each key and list entry, counted from 1.
    """

    policy: Policy
    path: Path
    sha256: str
    text: str = field(repr=False)
    lines: Mapping[KeyPath, int] = field(repr=False)

    def line(self, *path: str | int) -> int | None:
        """The line of a key, for example ``line("protections", 0, "epsilon")``; None if it is not in the file."""
        return self.lines.get(path)

    def place(self, *path: str | int) -> str:
        """Where a key stands, or else what holds it, for error messages: ``policy.yaml:12``."""
        return place_of(self.path.name, self.lines, path)

    def __str__(self) -> str:
        return f"{self.path.name}: project {self.policy.project}, sha256 {self.sha256[:12]}"


def load_policy(path: Path) -> LoadedPolicy:
    """Read and check a policy file.

    Args:
        path: the file, UTF-8, at most 1 MiB.

    Returns:
        The policy, with its digest and the lines of its keys.

    Raises:
        PolicyError: if it cannot be read or understood. Problems of syntax come alone; everything that the
            schema finds wrong comes at once, one line each, sorted by place.
    """
    return parse_policy(read_file(path), path=path)


def parse_policy(data: bytes, *, path: Path = Path("policy.yaml")) -> LoadedPolicy:
    """Check a policy that is in memory; as `load_policy`, without touching the disk.

    Args:
        data: the file's bytes.
        path: what error messages call it.

    Raises:
        PolicyError: as `load_policy`.
    """
    name = path.name
    text = decode(data, name)
    tree = read_tree(text, name=name)
    outcome = validate(tree.value)
    if isinstance(outcome, Policy):
        return LoadedPolicy(policy=outcome, path=path, sha256=digest_bytes(data), text=text, lines=tree.lines)
    raise error_of(outcome, name, tree.lines)


def read_file(path: Path) -> bytes:
    """The bytes of a file that a person wrote; one byte more than the most that is allowed, if there are more.

    Raises:
        PolicyError: if it cannot be read, or is no file.
    """
    try:
        # A device or pipe could be endless, or wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise PolicyError("not a file", where=str(path), hint="name the policy file itself")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"cannot be read: {(error.strerror or str(error)).lower()}",
            where=str(path),
            hint="check the path; `wardline init` writes a policy to start from",
        ) from error
    except ValueError as error:  # a NUL in the path
        raise PolicyError("not a path", where=repr(str(path)), hint="check the path") from error


def decode(data: bytes, name: str) -> str:
    """The text of a file.

    Raises:
        PolicyError: if it is too long, or no UTF-8 without byte-order mark.
    """
    if len(data) > MAX_BYTES:
        raise PolicyError(
            f"the file has more than {MAX_BYTES:,} bytes", where=name, hint="a policy is short; is this the right file?"
        )
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise PolicyError(
            "the file begins with a byte-order mark", where=f"{name}:1", hint="save it as UTF-8 without BOM"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError("the text is not UTF-8", where=f"{name}:{line}", hint="save the file as UTF-8") from error


def place_of(name: str, lines: Mapping[KeyPath, int], path: KeyPath) -> str:
    """A path's line, or that of the nearest thing around it which the file holds."""
    for length in range(len(path), -1, -1):
        line = lines.get(path[:length])
        if line is not None:
            return f"{name}:{line}"
    return name


def error_of(problems: list[Problem], name: str, lines: Mapping[KeyPath, int]) -> PolicyError:
    """All problems as one error: a line each in the order of the file, the first one's place in `where`."""

    def order(problem: Problem) -> tuple[int, int]:
        place = place_of(name, lines, problem.path)
        return int(place.rpartition(":")[2]), len(problem.path)

    unique = list({(one.path, one.message): one for one in sorted(problems, key=order)}.values())
    told = unique[:_MAX_TOLD]
    messages = [f"{told[0].key}: {told[0].message}"]
    messages += [f"{place_of(name, lines, one.path)}: {one.key}: {one.message}" for one in told[1:]]
    if len(unique) > len(told):
        messages.append(f"and {len(unique) - len(told)} more")
    hints = [told[0].hint] if len(told) == 1 else [f"{one.key}: {one.hint}" for one in told]
    return PolicyError(
        "\n".join(messages), where=place_of(name, lines, told[0].path), hint="\n".join(dict.fromkeys(hints))
    )
