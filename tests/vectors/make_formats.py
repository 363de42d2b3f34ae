"""Makes the vectors of the formats that Wardline writes: `python tests/vectors/make_formats.py`.

Run it only when a format gets a new version; the committed files are what other implementations and later
versions are held to. Keys come from fixed seeds and sign nothing but these vectors. ML-DSA signatures differ
from run to run, and all of them verify.

`composite-signature-draft.json` and `evidence-predicate.json` are not made here. The first is the vector
``id-MLDSA65-Ed25519-SHA512`` of draft-ietf-lamps-pq-composite-sigs (lamps-wg/draft-composite-sigs,
src/testvectors.json at 60fcb1e, IETF Trust, Revised BSD licence), unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

from wardline.core import canonical_json
from wardline.crypto import (
    KdfCost,
    SigningKey,
    encrypt_private_key,
    pre_authentication_encoding,
    public_key_text,
    unsafe_private_key_text,
)
from wardline.evidence import build_bundle

HERE = Path(__file__).parent
PRIVATE = bytes(range(64))
KEY = SigningKey.from_private_bytes(PRIVATE)
OTHER = SigningKey.from_private_bytes(bytes(range(1, 65)))
CHEAP = KdfCost(memory_kib=19_456, iterations=1, lanes=1)
TYPE, CONTEXT = "application/vnd.in-toto+json", b"wardline evidence bundle/1"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def save(name: str, value: Any) -> None:
    (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def signatures() -> dict[str, Any]:
    message, context = b"the message", b"a use"
    good = KEY.sign(message, context=context)
    mldsa = MLDSA65PrivateKey.from_seed_bytes(PRIVATE[:32])
    ed25519 = Ed25519PrivateKey.from_private_bytes(PRIVATE[32:])
    alone = mldsa.sign(message, context) + ed25519.sign(message)
    prefix = b"CompositeAlgorithmSignatures2025COMPSIG-MLDSA65-Ed25519-SHA512\x05a use"
    representative = prefix + hashlib.sha512(message).digest()
    without_label = mldsa.sign(representative) + ed25519.sign(representative)
    other = OTHER.sign(message, context=context)
    cases = {
        "good": good,
        "second-good": KEY.sign(message, context=context),
        "empty": b"",
        "mldsa-only": good[:3309],
        "ed25519-only": good[3309:],
        "mldsa-zeroed": bytes(3309) + good[3309:],
        "ed25519-zeroed": good[:3309] + bytes(64),
        "parts-swapped": good[3309:] + good[:3309],
        "one-byte-more": good + b"\0",
        "one-byte-less": good[:-1],
        "parts-signed-alone": alone,
        "mldsa-without-label": without_label,
        "another-key": other,
        "mldsa-of-another-key": other[:3309] + good[3309:],
        "ed25519-of-another-key": good[:3309] + other[3309:],
        "another-context": KEY.sign(message, context=b"another use"),
        "empty-context": KEY.sign(message, context=b""),
        "another-message": KEY.sign(message + b".", context=context),
    }
    return {
        "public_key": b64(KEY.verifying_key.public_bytes),
        "message": b64(message),
        "context": b64(context),
        "cases": [{"name": k, "valid": k in ("good", "second-good"), "signature": b64(v)} for k, v in cases.items()],
    }


def bundles() -> dict[str, Any]:
    predicate = json.loads((HERE / "evidence-predicate.json").read_text())
    report = b"<!doctype html><title>report</title>\n"
    digests = {"report.html": hashlib.sha256(report).hexdigest()}
    good = build_bundle(predicate, digests, key=KEY)
    envelope = json.loads(good)
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)

    def sealed(payload: bytes, *, kind: str = TYPE, key: SigningKey = KEY, context: bytes = CONTEXT) -> bytes:
        signature = key.sign(pre_authentication_encoding(kind, payload), context=context)
        entry = {"keyid": key.id, "sig": b64(signature)}
        return canonical_json({"payload": b64(payload), "payloadType": kind, "signatures": [entry]})

    def stating(**changes: Any) -> bytes:
        return sealed(canonical_json({**statement, **changes}))

    def judged(**changes: Any) -> bytes:
        return stating(predicate={**predicate, **changes})

    def with_parts(**changes: Any) -> bytes:
        return canonical_json({**envelope, **changes})

    entry = envelope["signatures"][0]
    signature = base64.b64decode(entry["sig"])
    ed25519 = Ed25519PrivateKey.from_private_bytes(PRIVATE[32:])
    alone = ed25519.sign(pre_authentication_encoding(TYPE, payload))
    subject = statement["subject"][0]
    rules = predicate["rules"]
    failed = [*rules[:2], {**rules[2], "outcome": "fail"}]
    expired = [*rules[:2], {**rules[2], "outcome": "fail", "waiver": {"who": "w", "why": "y", "until": "2026-11-20"}}]
    valid_waiver = [
        *rules[:2],
        {**rules[2], "outcome": "fail", "waiver": {"who": "w", "why": "y", "until": "2026-11-21"}},
    ]
    broken = [{**predicate["measurements"][0], "value": 4.8}, predicate["measurements"][1]]
    refused = [{**predicate["measurements"][0], "value": None, "refused": "too few"}, predicate["measurements"][1]]
    cases: dict[str, bytes] = {
        "good": good,
        "good-waived-on-its-last-day": judged(rules=valid_waiver),
        "good-verdict-fail": judged(rules=failed, verdict={"outcome": "fail", "summary": "accuracy failed"}),
        "trailing-newline": good + b"\n",
        "byte-order-mark": b"\xef\xbb\xbf" + good,
        "spaces": json.dumps(envelope, sort_keys=True).encode(),
        "keys-unsorted": json.dumps(dict(reversed(envelope.items())), separators=(",", ":")).encode(),
        "escaped-letter": good.replace(b'"payload"', b'"p\\u0061yload"', 1),
        "duplicate-payload": good.replace(b'{"payload":', b'{"payload":"AAAA","payload":', 1),
        "key-added": with_parts(comment=""),
        "key-missing": canonical_json({k: v for k, v in envelope.items() if k != "payloadType"}),
        "no-signature": with_parts(signatures=[]),
        "two-signatures": with_parts(signatures=[entry, entry]),
        "second-signature-by-another-key": with_parts(
            signatures=[entry, json.loads(sealed(payload, key=OTHER))["signatures"][0]]
        ),
        "certificate-added": with_parts(signatures=[{**entry, "cert": ""}]),
        "key-id-missing": with_parts(signatures=[{"sig": entry["sig"]}]),
        "key-id-changed": with_parts(signatures=[{**entry, "keyid": OTHER.id}]),
        "key-id-in-capitals": with_parts(signatures=[{**entry, "keyid": entry["keyid"].upper()}]),
        "another-key": sealed(payload, key=OTHER),
        "another-key-under-our-id": with_parts(
            signatures=[{"keyid": KEY.id, "sig": json.loads(sealed(payload, key=OTHER))["signatures"][0]["sig"]}]
        ),
        "ed25519-alone": with_parts(
            signatures=[
                {"keyid": hashlib.sha256(ed25519.public_key().public_bytes_raw()).hexdigest(), "sig": b64(alone)}
            ]
        ),
        "ed25519-alone-under-our-id": with_parts(signatures=[{"keyid": KEY.id, "sig": b64(alone)}]),
        "mldsa-stripped": with_parts(signatures=[{**entry, "sig": b64(signature[3309:])}]),
        "ed25519-stripped": with_parts(signatures=[{**entry, "sig": b64(signature[:3309])}]),
        "payload-type-changed": with_parts(payloadType="application/json"),
        "payload-type-signed-as-another": sealed(payload, kind="application/json"),
        "signed-for-another-use": sealed(payload, context=b"wardline artefact/1"),
        "signed-for-no-use": sealed(payload, context=b""),
        "base64-url-alphabet": with_parts(
            signatures=[{**entry, "sig": entry["sig"].replace("+", "-").replace("/", "_")}]
        ),
        "base64-without-padding": with_parts(signatures=[{**entry, "sig": entry["sig"].rstrip("=")}]),
        "base64-with-newline": with_parts(payload=envelope["payload"] + "\n"),
        "base64-stray-bits": with_parts(signatures=[{**entry, "sig": _stray(entry["sig"])}]),
        "statement-not-canonical": sealed(json.dumps(statement).encode()),
        "statement-of-another-type": stating(_type="https://in-toto.io/Statement/v0.1"),
        "predicate-of-another-type": stating(predicateType="urn:wardline:evidence:2"),
        "statement-with-another-field": stating(note=""),
        "no-subject": stating(subject=[]),
        "subject-twice": stating(subject=[subject, subject]),
        "subject-twice-in-capitals": stating(subject=[{**subject, "name": "REPORT.html"}, subject]),
        "subjects-unsorted": stating(subject=[subject, {**subject, "name": "a"}]),
        "subject-parent-folder": stating(subject=[{**subject, "name": "../report.html"}]),
        "subject-absolute": stating(subject=[{**subject, "name": "/etc/passwd"}]),
        "subject-backslash": stating(subject=[{**subject, "name": "..\\report.html"}]),
        "subject-nul": stating(subject=[{**subject, "name": "report.html\0.png"}]),
        "subject-dots": stating(subject=[{**subject, "name": ".."}]),
        "subject-is-the-bundle": stating(subject=[{**subject, "name": "bundle.json"}]),
        "subject-sha512-added": stating(subject=[{**subject, "digest": {**subject["digest"], "sha512": "00"}}]),
        "subject-digest-in-capitals": stating(
            subject=[{**subject, "digest": {"sha256": subject["digest"]["sha256"].upper()}}]
        ),
        "verdict-better-than-its-rules": judged(rules=failed),
        "verdict-on-an-expired-waiver": judged(rules=expired),
        "pass-without-rules": judged(rules=[]),
        "pass-with-a-rule-left-out": judged(rules=rules[:2]),
        "pass-against-the-audit": judged(measurements=broken),
        "pass-on-a-refused-measurement": judged(measurements=refused),
        "claims-hold-waived": judged(
            rules=[
                rules[0],
                {**rules[1], "outcome": "fail", "waiver": {"who": "w", "why": "y", "until": "2027-01-01"}},
                rules[2],
            ]
        ),
    }
    return {
        "public_key": public_key_text(KEY.verifying_key),
        "files": {"report.html": report.decode()},
        "cases": [
            {"name": name, "refused_by": _refused_by(name), "bundle": data.decode()} for name, data in cases.items()
        ],
    }


_SIGNATURE = ("key-id-", "another-key", "ed25519-", "mldsa-", "signed-for-")
_STATEMENT = ("statement-", "predicate-", "no-subject", "subject")
_EVIDENCE = ("verdict-", "pass-", "claims-hold-")


def _refused_by(name: str) -> str | None:
    """The first step of verification that must refuse a case, so that none is refused for the wrong reason."""
    if name.startswith("good"):
        return None
    if name.startswith(_SIGNATURE) and name != "key-id-missing":
        return "signature"
    if name.startswith(_STATEMENT):
        return "statement"
    return "evidence" if name.startswith(_EVIDENCE) else "envelope"


def _stray(text: str) -> str:
    """Set a bit that no byte is made of: the letter before the padding carries spare ones."""
    letters = text.rstrip("=")
    assert letters != text
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    changed = letters[:-1] + alphabet[alphabet.index(letters[-1]) + 1] + "=" * (len(text) - len(letters))
    assert base64.b64decode(changed) == base64.b64decode(text)
    return changed


def key_files() -> dict[str, Any]:
    passphrase = "correct horse battery staple"
    good = encrypt_private_key(KEY, passphrase=passphrase, cost=CHEAP)
    value = json.loads(good)

    def changed(**changes: Any) -> bytes:
        return canonical_json({**value, **changes}) + b"\n"

    def costing(**changes: Any) -> bytes:
        return changed(kdf={**value["kdf"], **changes})

    cases = {
        "good": good,
        "no-newline": good[:-1],
        "two-newlines": good + b"\n",
        "spaces": json.dumps(value, sort_keys=True).encode() + b"\n",
        "another-format": changed(format="wardline private key/2"),
        "another-cipher": changed(aead="AES-128-GCM"),
        "another-kdf": costing(name="scrypt"),
        "memory-bomb": costing(memory_kib=2**31),
        "too-many-iterations": costing(iterations=10**6),
        "too-cheap": costing(memory_kib=8),
        "cost-is-text": costing(memory_kib="19456"),
        "cost-is-true": costing(iterations=True),
        "cost-changed": costing(iterations=2),
        "public-key-of-another": changed(public_key=b64(OTHER.verifying_key.public_bytes)),
        "nonce-short": changed(nonce="AAAA"),
        "salt-short": costing(salt="AAAA"),
        "ciphertext-short": changed(ciphertext=b64(base64.b64decode(value["ciphertext"])[:-1])),
        "key-added": changed(comment=""),
        "unencrypted": unsafe_private_key_text(KEY).encode(),
        "empty": b"",
    }
    return {
        "passphrase": passphrase,
        "private_key": unsafe_private_key_text(KEY),
        "public_key": public_key_text(KEY.verifying_key),
        "key_id": KEY.id,
        "cases": [{"name": name, "valid": name == "good", "file": data.decode()} for name, data in cases.items()],
    }


if __name__ == "__main__":
    save("composite-signatures.json", signatures())
    save("bundles.json", bundles())
    save("key-files.json", key_files())
