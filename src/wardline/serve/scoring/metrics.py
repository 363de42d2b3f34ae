"""What a service counts, in Prometheus' text format, on a port of the machine itself."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_MOST_CLIENTS = 1000


class Metrics:
    """Counters of a service. Names of clients stand in them; nothing that they sent does.

    Args:
        model: kind and digest of the model, in hexadecimal, if they are to be told.
    """

    def __init__(self, *, model: tuple[str, str] | None = None) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._rows: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._buckets = [0] * (len(_SECONDS) + 1)
        self._seconds = 0.0

    def call(self, method: str, outcome: str) -> None:
        """Count a call and how it ended."""
        with self._lock:
            self._calls[method, outcome] += 1

    def rows(self, client: str, count: int) -> None:
        """Count rows that were charged."""
        with self._lock:
            known = client in self._rows or len(self._rows) < _MOST_CLIENTS
            self._rows[client if known else "others"] += count

    def traffic(self, *, received: int = 0, sent: int = 0) -> None:
        """Count bytes of frames."""
        with self._lock:
            self._bytes["received"] += received
            self._bytes["sent"] += sent

    def evaluation(self, seconds: float) -> None:
        """Count one evaluation."""
        with self._lock:
            self._buckets[sum(seconds > bound for bound in _SECONDS)] += 1
            self._seconds += seconds

    def text(self) -> str:
        """Everything, in Prometheus' text format (version 0.0.4)."""
        with self._lock:
            lines = []
            if self._model is not None:
                kind, digest = self._model
                lines += ["# TYPE wardline_model_info gauge"]
                lines += [f'wardline_model_info{{kind="{kind}",digest="{digest}"}} 1']
            lines += ["# TYPE wardline_calls_total counter"]
            lines += [
                f'wardline_calls_total{{method="{method}",outcome="{outcome}"}} {count}'
                for (method, outcome), count in sorted(self._calls.items())
            ]
            lines += ["# TYPE wardline_rows_total counter"]
            lines += [f'wardline_rows_total{{client="{client}"}} {n}' for client, n in sorted(self._rows.items())]
            lines += ["# TYPE wardline_frame_bytes_total counter"]
            lines += [
                f'wardline_frame_bytes_total{{direction="{way}"}} {self._bytes[way]}' for way in ("received", "sent")
            ]
            lines += ["# TYPE wardline_evaluation_seconds histogram"]
            total = 0
            for bound, count in zip((*map(str, _SECONDS), "+Inf"), self._buckets, strict=True):
                total += count
                lines.append(f'wardline_evaluation_seconds_bucket{{le="{bound}"}} {total}')
            lines += [
                f"wardline_evaluation_seconds_sum {self._seconds:.6f}",
                f"wardline_evaluation_seconds_count {total}",
            ]
        return "\n".join(lines) + "\n"


class MetricsPort:
    """Serves `/metrics` on the loopback interface, which nobody outside of the machine reaches.

    Args:
        metrics: what to show.
        port: 0 takes a free one.

    Raises:
        OSError: if the port is taken.
    """

    def __init__(self, metrics: Metrics, *, port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/metrics"
                body = metrics.text().encode() if found else b"not found\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
                """Say nothing: a scrape is no event."""

        Handler.timeout = 10
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
