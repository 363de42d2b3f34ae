"""The walls between rooms stand, and a breach in any of them is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = "rooms, low to high"
PURE = "policy is pure: it knows core alone"
HEAVY = "heavy libraries stay in the rooms that lean on them"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the source and its rules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "src" / "wardline", tmp_path / "src" / "wardline", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a copy, which stands first on the path so that the installed package is not looked at."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house / "src"), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_walls_stand(house: Path) -> None:
    done = lint(house)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (LAYERS, PURE, HEAVY):
        assert f"{name} KEPT" in done.stdout


@pytest.mark.parametrize(
    ("where", "line", "broken"),
    [
        ("core/verdict.py", "import wardline.data", LAYERS),
        ("data/examples.py", "import wardline.crypto", LAYERS),
        ("crypto/keys.py", "from wardline.data import Examples", LAYERS),
        ("models/architecture.py", "from wardline.dp import Ledger", LAYERS),
        ("gate/judge.py", "import wardline.evidence", LAYERS),
        ("evidence/bundle.py", "from wardline.gate import judge", LAYERS),
        ("dp/ledger.py", "def later():\n    from wardline.run import run\n    return run", LAYERS),
        ("garage/__init__.py", '"""A room that no layer knows."""', LAYERS),
        ("policy/rules.py", "from wardline.data import fetch", PURE),
        ("policy/rules.py", "from wardline.dp.accounting import epsilon_spent", PURE),
        ("cli/app.py", "def later():\n    import torch\n    return torch", HEAVY),
        ("evidence/report.py", "import pandas", HEAVY),
    ],
)
def test_a_planted_breach_is_noticed(house: Path, where: str, line: str, broken: str) -> None:
    path = house / "src" / "wardline" / where
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(house)
    assert done.returncode != 0, done.stdout
    if "garage" in where:
        assert "garage" in done.stdout + done.stderr
    else:
        assert f"{broken} BROKEN" in done.stdout, done.stdout + done.stderr
