"""The tutorial is a test: its blocks are run in order, in an empty folder, and must do what the text says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_of_the_tutorial_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "WARDLINE_PASSPHRASE": "only for the tutorial",
        "OMP_NUM_THREADS": "1",
    }
    printed = []
    for language, block in BLOCK.findall(text):
        commands = block.splitlines() if language == "bash" else [block]
        for command in commands:
            expected = re.search(r"# exit code (\d+)", command)
            program = ["bash", "-c", command] if language == "bash" else [sys.executable, "-c", command]
            done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == int(expected.group(1) if expected else 0), (command, done.stdout, done.stderr)
            printed.append(done.stdout)
    everything = "".join(printed)
    assert "PASS" in everything
    assert "kept from an earlier call: " in everything
    assert "authentic" in everything
    assert printed[-1].strip() in ("benign", "malignant")
    assert (tmp_path / "run" / "evidence" / "report.html").stat().st_size > 10_000
