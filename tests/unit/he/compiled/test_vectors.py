"""The committed vectors: compiled models that must be read just so, and public parts that must be refused."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from wardline.core import IntegrityError, UsageError
from wardline.he.compiled.folder import PUBLIC_FILE, WEIGHTS_FILE, read_model
from wardline.he.compiled.public_model import PublicModel

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[3] / "vectors" / "he" / "models.json").read_text())


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_models_are_read(case: dict[str, str], tmp_path: Path) -> None:
    public = PublicModel.from_bytes(case["public"].encode())
    assert public.to_bytes() == case["public"].encode()
    assert public.digest.hex() == case["digest"]
    (tmp_path / PUBLIC_FILE).write_text(case["public"])
    (tmp_path / WEIGHTS_FILE).write_bytes(base64.b64decode(case["weights"]))
    (tmp_path / WEIGHTS_FILE).chmod(0o600)
    evaluator = read_model(tmp_path)
    layers = getattr(evaluator.secret, "layers", (evaluator.secret,))
    integers = b"".join(layer.weights.astype("<i8").tobytes() for layer in layers)
    assert hashlib.sha256(integers).hexdigest() == case["integers_sha256"]
    assert evaluator.public.kind.server.pack(evaluator.secret) == base64.b64decode(case["weights"])[-_packed(public) :]


def _packed(public: PublicModel) -> int:
    return public.kind.server.packed_bytes(public.plan)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_others_are_refused(case: dict[str, str]) -> None:
    with pytest.raises((IntegrityError, UsageError)):
        PublicModel.from_bytes(case["public"].encode())
