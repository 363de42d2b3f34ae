"""The statement that is signed: an in-toto Statement v1 about the files of a bundle.

References: in-toto Attestation Framework, spec/v1/statement.md. Its rule that readers ignore unknown
fields is not followed: evidence with a part that nobody reads is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardline.core import IntegrityError, canonical_json
from wardline.crypto import MAX_PAYLOAD_BYTES, exact_object, parse_canonical

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPES = {"wardline.evidence/1": "urn:wardline:evidence:1", "wardline.audit/1": "urn:wardline:audit:1"}
"""The type of predicate for each of the forms that evidence has: of a policy's run, and of a model's audit."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"
CONTEXT = b"wardline evidence bundle/1"

BUNDLE_NAME = "bundle.json"
UNSIGNED_NAME = "unsigned-statement.json"
MAX_SUBJECTS = 1000

# One plain file name: no folder, nothing hidden, nothing that a shell, a terminal or another file system
# reads differently. So no name can lead out of the bundle's folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RESERVED = frozenset({BUNDLE_NAME, UNSIGNED_NAME})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a bundle states.

    Attributes:
        predicate: the evidence.
        digests: SHA-256 of each subject file by its name, in the order of the names.
    """

    predicate: Mapping[str, Any]
    digests: Mapping[str, str]


def encode_statement(predicate: Mapping[str, Any], digests: Mapping[str, str]) -> bytes:
    """The canonical bytes of a statement.

    Args:
        predicate: the evidence, JSON values and frozen Wardline values.
        digests: SHA-256 (64 hexadecimal digits) of each subject file by its name; at least one.

    Raises:
        ValueError: for a name that is not plain, no subject, a malformed digest, a number that JSON cannot
            carry, or a statement of more than 4 MiB.
        TypeError: for a value without a JSON form.
    """
    problem = _subject_problem(list(digests.items()))
    if problem:
        raise ValueError(problem)
    payload = canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digests[name]}} for name in sorted(digests)],
            "predicateType": _predicate_type(predicate),
            "predicate": predicate,
        }
    )
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"the evidence has {len(payload)} bytes, more than {MAX_PAYLOAD_BYTES}")
    return payload


def decode_statement(payload: bytes) -> Statement:
    """Read a statement strictly.

    Raises:
        IntegrityError: if it is not the canonical spelling of a statement of this type about at least one
            plainly named subject.
    """
    value = parse_canonical(payload, what="the statement", max_bytes=MAX_PAYLOAD_BYTES)
    value = exact_object(value, frozenset({"_type", "predicate", "predicateType", "subject"}), what="the statement")
    if not isinstance(value["predicate"], dict) or not isinstance(value["subject"], list):
        raise IntegrityError("the predicate is an object and the subject a list")
    if (value["_type"], value["predicateType"]) != (STATEMENT_TYPE, _predicate_type(value["predicate"])):
        raise IntegrityError("the statement is of a type or version that this program does not know")
    subjects = []
    for entry in value["subject"]:
        entry = exact_object(entry, frozenset({"digest", "name"}), what="a subject")
        digest = exact_object(entry["digest"], frozenset({"sha256"}), what="the digest of a subject")
        subjects.append((entry["name"], digest["sha256"]))
    problem = _subject_problem(subjects)
    if problem:
        raise IntegrityError(problem)
    if subjects != sorted(subjects):
        raise IntegrityError("the subjects are not in the order of their names")
    return Statement(predicate=value["predicate"], digests=dict(subjects))


def _predicate_type(predicate: Mapping[str, Any]) -> str:
    """The type that a predicate of this form has; a form that nobody knows is refused where its shape is checked."""
    schema = predicate.get("schema")
    known = PREDICATE_TYPES.get(schema) if isinstance(schema, str) else None
    return known or PREDICATE_TYPES["wardline.evidence/1"]


def _subject_problem(subjects: list[tuple[Any, Any]]) -> str:
    if not 1 <= len(subjects) <= MAX_SUBJECTS:
        return f"a statement is about 1 to {MAX_SUBJECTS} files"
    for name, digest in subjects:
        # ascii(): a hostile name must not reach a terminal as control characters.
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            return f"{ascii(name)[:80]} is not a plain file name that a subject may have"
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            return f"the sha-256 of {name} is not 64 hexadecimal digits"
    if len({name.casefold() for name, _ in subjects}) != len(subjects):
        return "two subjects have the same name, at least where capitals do not count"
    return ""
