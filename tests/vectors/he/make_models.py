"""Makes the vectors of compiled models: `python tests/vectors/he/make_models.py`.

Run it only when the format gets a new version; the committed file is what later versions and other implementations are
held to. The salts of the server's files were drawn when it ran.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wardline.core import canonical_json
from wardline.he.compiled.compiling import Compiled, compile_model
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program

HERE = Path(__file__).parent


def programs() -> dict[str, Program]:
    """One of each kind of evaluation."""
    generator = np.random.default_rng(20261121)
    first = Affine(weights=generator.normal(size=(4, 3)), offset=generator.normal(size=4), name="first")
    last = Affine(weights=generator.normal(size=(2, 4)), offset=generator.normal(size=2), name="last")
    logits = Meaning(gives="logits", classes=("left", "right"), link="softmax")
    square = Polynomial(coefficients=(0.0, 0.5, 1.0), units=4, name="bend")
    quartic = Polynomial(coefficients=(0.1, -0.2, 0.3, 0.1, 0.5), units=4, name="bend")

    def program(*layers: Any) -> Program:
        return Program(input_shape=(3,), layers=layers, meaning=logits, features=("x", "y", "z"))

    return {
        "linear": program(Affine(weights=generator.normal(size=(2, 3)), offset=np.zeros(2), name="linear")),
        "network, squared": program(first, square, last),
        "network, degree 4": program(first, quartic, last),
    }


def valid(name: str, compiled: Compiled) -> dict[str, str]:
    """A model that must be read: its public part, the server's file, and what both are known by."""
    return {
        "name": name,
        "public": compiled.public.to_bytes().decode(),
        "digest": compiled.public.digest.hex(),
        "weights": base64.b64encode(compiled.weights.content).decode(),
        "integers_sha256": integers_digest(compiled.evaluator.secret),
    }


def integers_digest(secret: Any) -> str:
    """SHA-256 of all integers of a model, layer after layer, as signed 64-bit numbers."""
    layers = getattr(secret, "layers", (secret,))
    return hashlib.sha256(b"".join(layer.weights.astype("<i8").tobytes() for layer in layers)).hexdigest()


def refused(public: str) -> list[dict[str, str]]:
    """Public parts that must be refused, each changed in one thing."""
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "of the first version": lambda one: one.update(schema="wardline compiled model/1"),
        "of an unknown kind": lambda one: one.update(kind="oracle"),
        "of another kind": lambda one: one.update(kind="linear"),
        "with a step below its noise": lambda one: one["plan"].update(step=one["plan"]["step"] / 8),
        "with a step that is no power of two": lambda one: one["plan"].update(step=one["plan"]["step"] * 1.5),
        "with less noise than 40 bits": lambda one: one["plan"].update(flood_bits=39),
        "without noise": lambda one: one["plan"].update(flood_bits=None),
        "with a scale beyond its moduli": lambda one: one["plan"].update(input_scale=2.0**300),
        "with a reply of another scale": lambda one: one["plan"].update(reply_scale=one["plan"]["reply_scale"] * 2),
        "with layers that do not fit": lambda one: one["plan"]["layers"][0].update(outputs=5),
        "with too many numbers": lambda one: one["plan"]["layers"][0].update(outputs=1 << 20),
        "without a polynomial": lambda one: one["plan"]["layers"][0].update(squared=False),
        "with parameters below 128 bits": lambda one: one["plan"]["parameters"].update(degree=4096),
        "with a range of no width": lambda one: one["plan"]["half_width"].__setitem__(0, 0.0),
        "with a name twice": lambda one: one.update(features=["x", "x", "z"]),
        "with a class too few": lambda one: one["meaning"].update(classes=["left"]),
        "with something more": lambda one: one.update(more=1),
    }
    found = []
    for name, change in changes.items():
        # Canonical JSON writes large floats without a point.
        value = json.loads(public, parse_int=lambda text: int(text) if len(text) < 16 else float(text))
        change(value)
        found.append({"name": name, "public": canonical_json(value).decode()})
    found.append({"name": "with a space", "public": public.replace(":", ": ", 1)})
    found.append({"name": "cut short", "public": public[:-1]})
    return found


def main() -> None:
    """Write models.json."""
    rows = np.random.default_rng(7).uniform(-1, 1, (400, 3))
    models = [valid(name, compile_model(program, rows, agreement=0.99)) for name, program in programs().items()]
    content = {"valid": models, "refused": refused(models[1]["public"])}
    (HERE / "models.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
