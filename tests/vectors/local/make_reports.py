"""Makes `reports.json`: `python tests/vectors/local/make_reports.py`.

Run it only when the format gets a new version; the committed file is what other implementations and later versions are
held to. Thresholds are part of it: a client that rounds its probabilities otherwise is another mechanism.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from wardline.dp.local import (
    HadamardResponse,
    NumericResponse,
    NumericVectorResponse,
    RandomisedResponse,
    Rappor,
    UnaryEncoding,
    encode,
)

HERE = Path(__file__).parent


def bits(size: int, *places: int) -> np.ndarray:
    row = np.zeros((1, (size + 63) // 64), dtype=np.uint64)
    for place in places:
        row[0, place // 64] |= np.uint64(1) << np.uint64(place % 64)
    return row


CASES: list[tuple[str, type, dict[str, Any], list[np.ndarray], dict[str, str]]] = [
    (
        "RandomisedResponse",
        RandomisedResponse,
        {"size": 300, "epsilon": 1.0},
        [np.array([0]), np.array([258]), np.array([299])],
        {"value-300": "2c01", "value-65535": "ffff", "short": "01", "long": "010000", "empty": ""},
    ),
    (
        "UnaryEncoding",
        UnaryEncoding,
        {"size": 10, "epsilon": 0.5, "flips": "optimised"},
        [bits(10), bits(10, 0, 9), bits(10, *range(10))],
        {"bit-10": "0004", "all-bits": "ffff", "short": "01", "long": "010000"},
    ),
    (
        "UnaryEncoding",
        UnaryEncoding,
        {"size": 64, "epsilon": 2.0, "flips": "symmetric"},
        [bits(64, 63), bits(64, *range(64))],
        {"nine-bytes": "00" * 9},
    ),
    (
        "HadamardResponse",
        HadamardResponse,
        {"size": 200, "epsilon": 1.0},
        [np.array([0]), np.array([255])],
        {"symbol-256-in-two-bytes": "0001"},
    ),
    (
        "HadamardResponse",
        HadamardResponse,
        {"size": 5, "epsilon": 3.0},
        [np.array([3])],
        {"symbol-255": "ff"},
    ),
    (
        "Rappor",
        Rappor,
        {"size": 9, "epsilon": 2.0, "report_epsilon": 1.0, "most_values": 1},
        [bits(9, 8), bits(9, 0, 1, 2)],
        {"bit-9": "0002"},
    ),
    (
        "NumericResponse",
        NumericResponse,
        {"lower": -1.5, "upper": 10.0, "epsilon": 1.0, "method": "duchi"},
        [np.array([0]), np.array([1])],
        {"symbol-2": "02"},
    ),
    (
        "NumericResponse",
        NumericResponse,
        {"lower": 0.0, "upper": 1.0, "epsilon": 1.0, "method": "piecewise"},
        [np.array([0]), np.array([65535])],
        {"short": "ff"},
    ),
    (
        "NumericResponse",
        NumericResponse,
        {"lower": 0.0, "upper": 1.0, "epsilon": 2.0, "method": "hybrid"},
        [np.array([7]), np.array([65537])],
        {"symbol-65538": "020001"},
    ),
    (
        "NumericVectorResponse",
        NumericVectorResponse,
        {"lower": [0.0, -1.0, 0.0], "upper": [1.0, 1.0, 5.0], "epsilon": 5.0, "method": "duchi"},
        [np.array([[[0, 1], [2, 0]]]), np.array([[[1, 1], [2, 1]]])],
        {"twice-the-same": "01000100", "falling": "02010001", "number-3": "00000301", "symbol-2": "00000102"},
    ),
]
THRESHOLDS = ("truth", "own", "other", "blocks", "width", "permanent", "instant", "sampled")


def main() -> None:
    found = []
    for name, make, arguments, good, bad in CASES:
        turned = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
        mechanism = make(**turned)
        reports = [{"report": one.tolist(), "message": encode(mechanism, one)[0].hex()} for one in good]
        head = reports[0]["message"][:10]
        refused = [{"name": key, "message": head + payload} for key, payload in bad.items()]
        first = reports[0]["message"]
        refused += [
            {"name": "version-0", "message": "00" + first[2:]},
            {"name": "version-2", "message": "02" + first[2:]},
            {"name": "another-scheme", "message": first[:8] + f"{int(first[8:10], 16) ^ 1:02x}" + first[10:]},
            {"name": "header-alone", "message": head},
            {"name": "nothing", "message": ""},
        ]
        numbers = {key: str(getattr(mechanism, key)) for key in THRESHOLDS if hasattr(mechanism, key)}
        found.append(
            {
                "mechanism": name,
                "arguments": arguments,
                "scheme": mechanism.scheme,
                "numbers": numbers,
                "reports": reports,
                "refused": refused,
            }
        )
    (HERE / "reports.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
