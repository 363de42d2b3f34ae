"""Hostile YAML to plain values, with the line of every key.

Only the scanner and parser of ruamel.yaml are used, as a stream of events; the values are built here, under
limits, by the rules of the YAML 1.2 core schema alone. So there is no constructor that a tag could reach, no
merge key, no date, no `no` that means false, and no number whose value depends on who reads it. Limits are
checked while events arrive: a file that would unfold into millions of values is refused after the first
few thousand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from wardline.core import PolicyError
from wardline.policy.fields import show
from wardline.policy.problems import KeyPath, spell

MAX_DEPTH = 20
"""The deepest nesting; a policy needs 6."""

MAX_NODES = 20_000
"""The most values, those that aliases repeat included; 4,096 columns have about 16,000."""

MAX_LINE = 32_768
"""The longest line, in characters; the scanner takes time that grows with the square of some tokens' length."""

MAX_INTEGER = 2**53
"""The largest whole number that JSON, and so the evidence, carries exactly."""

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)(\.inf|\.Inf|\.INF)")
_NAN = {".nan", ".NaN", ".NAN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Plain values and where they stand.

    Attributes:
        value: the top mapping, of mappings, lists, text, numbers and flags.
        lines: the line of each key and list entry, counted from 1, by its path.
    """

    value: Mapping[str, Any]
    lines: Mapping[KeyPath, int]


@dataclass(slots=True)
class _Node:
    value: Any  # dict[str, _Node], list[_Node], or a scalar
    line: int
    size: int = 1  # values inside, itself included, aliases unfolded
    height: int = 0  # levels below it, aliases unfolded


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not arrived."""

    node: _Node
    path: KeyPath
    anchor: str | None
    key: str | None = None  # a mapping's key that waits for its value
    key_line: int = 0
    key_lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Builds one document's values from events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Node] = {}
        self.root: _Node | None = None
        self.total = 0

    def error(self, message: str, line: int, hint: str) -> PolicyError:
        return PolicyError(message, where=f"{self.name}:{line}", hint=hint)

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case DocumentStartEvent():
                self._start(event, line)
            case MappingStartEvent() | SequenceStartEvent():
                self._no_tag(event, line)
                self._open(event, line)
            case MappingEndEvent() | SequenceEndEvent():
                self._close()
            case ScalarEvent():
                self._no_tag(event, line)
                self._scalar(event, line)
            case AliasEvent():
                self._alias(event, line)
            case _:
                pass  # ends of documents and of the stream hold nothing

    def _start(self, event: DocumentStartEvent, line: int) -> None:
        if self.root is not None:
            raise self.error("a second document begins here", line, "keep one policy in one file, without ---")
        if event.version or event.tags:
            raise self.error(
                "a % directive changes how the file is read", line, "remove it: a policy is always YAML 1.2"
            )

    def _no_tag(self, event: Any, line: int) -> None:
        if event.tag is not None:
            raise self.error(
                f"{self._here()}: a tag (!) changes how a value is read", line, "remove the tag and write the value"
            )

    def _here(self) -> str:
        return spell(self._path_of_next())

    def _path_of_next(self) -> KeyPath:
        if not self.stack:
            return ()
        top = self.stack[-1]
        if isinstance(top.node.value, list):
            return (*top.path, len(top.node.value))
        return top.path if top.key is None else (*top.path, top.key)

    def _open(self, event: Any, line: int) -> None:
        self._no_key(line)
        self._deep(1, line)
        self._count(1, line)
        node = _Node(value={} if isinstance(event, MappingStartEvent) else [], line=line)
        self.stack.append(_Open(node=node, path=self._path_of_next(), anchor=event.anchor))

    def _no_key(self, line: int) -> None:
        """Refuse a mapping, list or alias where a key is due."""
        if self.stack and isinstance(self.stack[-1].node.value, dict) and self.stack[-1].key is None:
            raise self.error(f"{self._here()}: a key must be plain text", line, "write the key as one word")

    def _deep(self, levels: int, line: int) -> None:
        if len(self.stack) + levels > MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} deep", line, "a policy needs far less nesting")

    def _count(self, size: int, line: int) -> None:
        self.total += size
        if self.total > MAX_NODES:
            raise self.error(
                f"unfolds into more than {MAX_NODES:,} values",
                line,
                "remove repeated aliases (*), or shorten the lists",
            )

    def _close(self) -> None:
        top = self.stack.pop()
        if top.anchor is not None:
            self.anchors[top.anchor] = top.node
        self._place(top.node)

    def _place(self, node: _Node) -> None:
        """Put a finished value where it belongs."""
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.node.size += node.size
        top.node.height = max(top.node.height, node.height + 1)
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        else:
            assert top.key is not None
            top.node.value[top.key] = _Node(value=node.value, line=top.key_line, size=node.size, height=node.height)
            top.key = None

    def _scalar(self, event: ScalarEvent, line: int) -> None:
        top = self.stack[-1] if self.stack else None
        if re.search("[\ud800-\udfff]", event.value):
            raise self.error(f"{self._here()}: half a character (a lone surrogate)", line, "write the whole character")
        if top is not None and isinstance(top.node.value, dict) and top.key is None:
            self._key(top, event, line)
            return
        if not event.value and top is not None and top.key is not None:
            line = top.key_line  # where an absent value should have been, not where the next token is
        self._count(1, line)
        node = _Node(value=event.value if event.style else self._plain(event.value, line), line=line)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self._place(node)

    def _key(self, top: _Open, event: ScalarEvent, line: int) -> None:
        key, where = event.value, spell(top.path)
        if key == "<<" and not event.style:
            raise self.error(f"{where}: YAML 1.2 has no merge key (<<)", line, "write the keys out")
        if not key:
            raise self.error(f"{where}: a key is empty", line, "write a key before the colon")
        if key in top.key_lines:
            raise self.error(
                f"{spell((*top.path, key))}: the key is given twice, first on line {top.key_lines[key]}",
                line,
                "keep one of the two lines",
            )
        if event.anchor is not None:
            raise self.error(f"{where}: a key has an anchor (&)", line, "remove the anchor")
        top.key_lines[key] = line
        top.key, top.key_line = key, line

    def _alias(self, event: AliasEvent, line: int) -> None:
        self._no_key(line)
        node = self.anchors.get(event.anchor)
        if node is None:
            raise self.error(
                f"{self._here()}: *{event.anchor} stands for nothing that ended before it",
                line,
                f"set &{event.anchor} on an earlier value, or write the value out",
            )
        self._count(node.size, line)
        # A chain of aliases, each a few levels deeper than the last, is deep although no line of it looks so.
        self._deep(node.height, line)
        self._place(_Node(value=node.value, line=line, size=node.size, height=node.height))

    def _plain(self, text: str, line: int) -> Any:
        """The value of an unquoted scalar by the YAML 1.2 core schema, less what is ambiguous."""
        if text in _NULL and not self.stack:
            raise self.error("the file holds no policy", line, "`wardline init` writes one to start from")
        if text in _NULL:
            raise self.error(f"{self._here()}: has no value", line, "write a value behind the colon, or remove the key")
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
            return self._integer(text, line)
        if _LEADING_ZERO.fullmatch(text):
            raise self.error(
                f"{self._here()}: {show(text)} begins with a zero, and readers of YAML disagree about its value",
                line,
                "write the number without the zero, or in quotes if it is text",
            )
        if _FLOAT.fullmatch(text):
            return float(text)
        if match := _INFINITY.fullmatch(text):
            return -math.inf if match[1] == "-" else math.inf
        return math.nan if text in _NAN else text

    def _integer(self, text: str, line: int) -> int:
        value = int(text, 0) if len(text) <= 20 else MAX_INTEGER + 1
        if abs(value) > MAX_INTEGER:
            raise self.error(
                f"{self._here()}: the whole number is beyond 2**53, where exact arithmetic ends",
                line,
                "write a smaller number, or quotes around it if it is text",
            )
        return value


def read_tree(text: str, *, name: str) -> Tree:
    """Read one YAML document.

    Args:
        text: the file's text, without a byte-order mark.
        name: the file's name, for error messages.

    Returns:
        Its values and lines.

    Raises:
        PolicyError: if it is no YAML 1.2, or uses what a policy must not: tags, directives, merge keys,
            duplicate keys, several documents, too deep or too large a structure.

    Guarantee:
        No value of the text selects code to run. Work and memory are bounded by `MAX_NODES` and the
        length of the text, whatever its aliases are.
    """
    builder = _Builder(name)
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            raise builder.error(f"a line of more than {MAX_LINE:,} characters", number, "break the line")
    for event in _events(text, name):
        builder.take(event)
    root = builder.root
    if root is None:
        raise builder.error("the file holds no policy", 1, "`wardline init` writes one to start from")
    if not isinstance(root.value, dict):
        raise builder.error(
            "the policy must be a mapping of keys to values", root.line, 'begin with "schema: 1" in the first line'
        )
    lines: dict[KeyPath, int] = {}
    value = _unfold(root, (), lines)
    return Tree(value=value, lines=lines)


def _events(text: str, name: str) -> Iterator[Any]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyError(
            "a character that YAML does not allow", where=f"{name}:{line}", hint="remove the control character"
        ) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        problem = str(error.problem or error.context or "cannot be read")
        if "'\\t'" in problem or "\t" in problem:
            message, hint = "a tab stands where YAML needs spaces", "replace tabs by spaces"
        else:
            message, hint = f"not YAML: {problem}".lower(), "check indentation, colons, brackets and quotes"
        raise PolicyError(message, where=f"{name}:{line}", hint=hint) from error
    except (YAMLError, ValueError, OverflowError) as error:
        # The scanner passes some malformed escapes to chr() and int() unchecked.
        raise PolicyError(
            "not YAML: an escape or a number in it has no meaning",
            where=name,
            hint="check what stands behind \\ and % in the file",
        ) from error


def _unfold(node: _Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    lines[path] = node.line
    if isinstance(node.value, dict):
        return {key: _unfold(item, (*path, key), lines) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_unfold(item, (*path, index), lines) for index, item in enumerate(node.value)]
    return node.value
