"""Write constraints.txt: every package that the extras resolve to, pinned. Called by `make lock`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEADER = """\
# Made by `make lock`; do not edit. Every package that `.[all,dev,docs]` resolves to on Python 3.11.
# torch is pinned without a build tag, so that an index of CPU builds serves it where one is configured.
"""


def main() -> None:
    """Resolve without installing, and write the pins."""
    root = Path(__file__).resolve().parent.parent
    target = root / "constraints.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    seed = ["torch==2.13.0", *sys.argv[1:]]
    report = subprocess.run([*command, f"{root}[all,dev,docs]", *seed], check=True, stdout=subprocess.PIPE).stdout
    pins = set()
    for item in json.loads(report)["install"]:
        metadata = item["metadata"]
        if metadata["name"] != "wardline":
            pins.add(f"{metadata['name'].lower().replace('_', '-')}=={metadata['version'].split('+')[0]}")
    target.write_text(HEADER + "\n".join(sorted(pins)) + "\n", encoding="utf-8")
    print(f"{target.name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
