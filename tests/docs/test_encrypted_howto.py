"""The code and the commands of docs/howto/score-encrypted-data.md run as they stand there."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tenseal")
pytest.importorskip("grpc")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "score-encrypted-data.md"
WARDLINE = [sys.executable, "-m", "wardline"]


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = PAGE.read_text().replace("7443", str(port))
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    commands = [line.split()[1:] for line in re.findall(r"^wardline he .*$", text, flags=re.MULTILINE)]
    assert len(blocks) == 2
    assert [words[1] for words in commands] == [
        *("certificates", "explain", "serve"),
        *("keys", "encrypt", "score", "decrypt"),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARDLINE_PASSPHRASE", "four random words here")
    names: dict[str, object] = {}
    exec(compile(blocks[0], str(PAGE), "exec"), names)
    for words in commands[:2]:
        subprocess.run([*WARDLINE, *words], check=True, capture_output=True)
    server = subprocess.Popen([*WARDLINE, *commands[2]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("{")
        exec(compile(blocks[1], str(PAGE), "exec"), names)
        agreement = re.search(r"agreement (\S+)", capsys.readouterr().out)
        assert agreement is not None
        assert float(agreement[1]) >= 0.99  # 169 rows, some of them clipped
        (tmp_path / "public.json").write_bytes((tmp_path / "compiled" / "public.json").read_bytes())
        public, rows = names["public"], names["rows"]
        lines = [",".join(public.features), *(",".join(map(repr, row)) for row in rows[:5].tolist())]
        (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
        printed = [
            subprocess.run([*WARDLINE, *words], check=True, capture_output=True, text=True).stdout
            for words in commands[3:]
        ]
    finally:
        server.terminate()
        server.wait()
    assert printed[-1].splitlines()[0] == "score,decision,probability 0,probability 1"
    assert len(printed[-1].splitlines()) == 6
