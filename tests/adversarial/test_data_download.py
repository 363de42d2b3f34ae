"""Downloads over real TLS from loopback, from servers that behave and servers that do not."""

from __future__ import annotations

import datetime
import hashlib
import io
import ipaddress
import resource
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wardline.core import DataError, IntegrityError, WorkspaceError
from wardline.data import fetch

CSV = b"a,y\n1,no\n2,yes\n"
DIGEST = hashlib.sha256(CSV).hexdigest()
NOW = datetime.datetime.now(datetime.UTC)


def certificate(name: str, issuer: tuple | None = None, *, host: str = "127.0.0.1") -> tuple:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        names = [x509.IPAddress(ipaddress.ip_address(host))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


def pem(parts: tuple) -> bytes:
    key, cert = parts
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + cert.public_bytes(serialization.Encoding.PEM)


class Server:
    """An HTTP server on loopback: each path is answered by a function that writes what it likes."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.close_connection = True
                outer.routes[self.path](self)

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        class Quiet(ThreadingHTTPServer):
            def finish_request(self, request, address) -> None:
                # Closed whatever happens: the clients of these tests hang up at any moment.
                with tls.wrap_socket(request, server_side=True) if tls is not None else request as connection:
                    super().finish_request(connection, address)

            def handle_error(self, *_: object) -> None:
                """A client that hangs up is what these tests are about."""

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"

    def serve(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.routes[path] = answer
        return self.url + path

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("tls")
    root = certificate("throwaway authority")
    (folder / "root.pem").write_bytes(root[1].public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(pem(certificate("server", root)))
    (folder / "elsewhere.pem").write_bytes(pem(certificate("elsewhere", root, host="127.0.0.9")))
    return folder


def tls_server(chain: Path) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return Server(context)


@pytest.fixture(scope="module")
def server(authority) -> Iterator[Server]:
    running = tls_server(authority / "server.pem")
    yield running
    running.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def get(authority, tmp_path):
    def call(url: str, *, sha256: str | None = DIGEST, cache: Path | None = tmp_path / "cache", **more):
        context = ssl.create_default_context(cafile=authority / "root.pem")
        return fetch(url, sha256=sha256, base=tmp_path, cache=cache, **{"context": context, **more})

    return call


def left_behind(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_a_pinned_download_is_read_and_kept(server, get, tmp_path):
    url = server.serve("/t.csv", CSV)
    source = get(url)
    assert source.table.to_pydict() == {"a": [1, 2], "y": ["no", "yes"]}
    assert source.sha256 == DIGEST
    assert left_behind(tmp_path) == [f"cache/sha256-{DIGEST}"]


def test_the_copy_is_used_again_and_checked_again(server, get, tmp_path):
    url = server.serve("/again.csv", CSV)
    get(url)
    get(url)
    assert server.asked.count("/again.csv") == 1
    copy = tmp_path / "cache" / f"sha256-{DIGEST}"
    copy.write_bytes(CSV.replace(b"1", b"9"))
    assert get(url).table.column("a").to_pylist() == [1, 2]
    assert server.asked.count("/again.csv") == 2
    assert copy.read_bytes() == CSV
    # With a copy that was changed and a server that lies as well, there is nothing to fall back on.
    copy.write_bytes(b"evil")
    server.serve("/again.csv", CSV.replace(b"1", b"9"))
    with pytest.raises(IntegrityError):
        get(url)


def test_without_a_cache_nothing_is_kept(server, get, tmp_path):
    assert get(server.serve("/t.csv", CSV), cache=None).sha256 == DIGEST
    assert left_behind(tmp_path) == []


def test_parquet_from_an_address_without_an_ending(server, get):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2]}), buffer)
    data = buffer.getvalue()
    url = server.serve("/download?id=7", data)
    assert get(url, sha256=hashlib.sha256(data).hexdigest()).table.num_rows == 2


def test_a_private_authority_by_environment(server, get, authority, monkeypatch):
    url = server.serve("/t.csv", CSV)
    with pytest.raises(IntegrityError, match="certificate is not trusted") as caught:
        get(url, context=None)
    assert "SSL_CERT_FILE" in caught.value.hint
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "root.pem"))
    assert get(url, context=None).sha256 == DIGEST


def test_a_certificate_for_another_host(authority, get):
    other = tls_server(authority / "elsewhere.pem")
    try:
        with pytest.raises(IntegrityError, match="certificate is not trusted"):
            get(other.serve("/t.csv", CSV))
        assert other.asked == []
    finally:
        other.close()


@pytest.mark.parametrize(
    "body",
    [CSV.replace(b"1", b"9"), CSV[:-1], CSV + b"\n", b"", CSV * 100_000],
    ids=["changed", "cut", "longer", "empty", "big"],
)
def test_other_bytes_are_refused_and_nothing_is_left(server, get, tmp_path, body):
    with pytest.raises(IntegrityError, match=DIGEST) as caught:
        get(server.serve("/wrong.csv", body))
    assert caught.value.exit_code == 3
    assert left_behind(tmp_path) == []


def test_a_download_without_a_digest_is_not_even_asked_for(server, get):
    with pytest.raises(DataError, match="needs a sha256"):
        get(server.serve("/unpinned.csv", CSV), sha256=None)
    assert "/unpinned.csv" not in server.asked


def test_redirects_stay_on_https(server, get, tmp_path):
    plain = Server(None)
    try:
        target = server.serve("/target.csv", CSV)
        assert get(server.serve("/good.csv", b"", status=302, Location=target)).sha256 == DIGEST
        assert get(server.serve("/relative.csv", b"", status=307, Location="/target.csv"), cache=None).sha256 == DIGEST
        for status in (301, 302, 303, 307, 308):
            bad = server.serve("/bad", b"", status=status, Location=plain.serve("/t.csv", CSV))
            with pytest.raises(DataError, match="not https"):
                get(bad, cache=None)
        with pytest.raises(DataError):
            get(server.serve("/bad", b"", status=302, Location=f"file://{tmp_path}/x"), cache=None)
        assert plain.asked == []
    finally:
        plain.close()


def test_redirects_in_a_circle(server, get, tmp_path):
    with pytest.raises(DataError, match="answered 302"):
        get(server.serve("/circle", b"", status=302, Location="/circle"))
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_error_of_the_server(server, get, tmp_path, status):
    with pytest.raises(DataError, match=f"answered {status}"):
        get(server.serve("/error.csv", CSV, status=status))
    assert left_behind(tmp_path) == []


def test_too_large_by_its_own_word_or_against_it(server, get, tmp_path):
    with pytest.raises(DataError, match="larger than 10 bytes"):
        get(server.serve("/t.csv", CSV), max_bytes=10)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 16))

    server.routes["/endless.csv"] = endless
    with pytest.raises(DataError, match="larger than 1,000,000 bytes"):
        get(server.url + "/endless.csv", max_bytes=1_000_000)
    assert left_behind(tmp_path) == []


def test_a_connection_that_breaks_off(server, get, tmp_path):
    url = server.serve("/half.csv", CSV[:-5], Content_Length=str(len(CSV)))
    with pytest.raises(DataError, match="broke off"):
        get(url)
    assert left_behind(tmp_path) == []


def test_an_answer_that_is_not_http(server, get, tmp_path):
    server.routes["/noise.csv"] = lambda handler: handler.wfile.write(b"\x00garbage\r\n\r\n")
    with pytest.raises(DataError, match="broke off"):
        get(server.url + "/noise.csv")
    assert left_behind(tmp_path) == []


def test_nobody_there_and_nobody_who_speaks_tls(get, tmp_path):
    plain = Server(None)
    port = plain.server.server_port
    with pytest.raises(DataError, match="no secure connection"):
        get(f"https://127.0.0.1:{port}/t.csv")
    plain.close()
    with pytest.raises(DataError, match="refused"):
        get(f"https://127.0.0.1:{port}/t.csv")
    assert left_behind(tmp_path) == []


def test_a_server_that_falls_silent(server, get, tmp_path, monkeypatch):
    import wardline.data._https as module

    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.2)
    done = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"a,y")
        done.wait(30)

    server.routes["/silent.csv"] = silent
    try:
        with pytest.raises(DataError, match="does not answer in time"):
            get(server.url + "/silent.csv")
    finally:
        done.set()
    assert left_behind(tmp_path) == []


def test_a_server_that_drips_bytes_meets_the_time_limit(server, get, tmp_path, monkeypatch):
    import wardline.data._https as module

    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.0)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")

    server.routes["/drip.csv"] = drip
    with pytest.raises(DataError, match="takes too long"):
        get(server.url + "/drip.csv")
    assert left_behind(tmp_path) == []


def test_a_full_disk(server, get, tmp_path):
    body = bytes(1 << 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))
    try:
        with pytest.raises(WorkspaceError, match="cannot write"):
            get(server.serve("/big.csv", body), sha256=hashlib.sha256(body).hexdigest())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_behind(tmp_path) == []


def test_a_cache_that_cannot_be_a_folder(server, get, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WorkspaceError):
        get(server.serve("/t.csv", CSV), cache=tmp_path / "file" / "cache")


def test_progress_is_told(server, get):
    class Told:
        def __init__(self) -> None:
            self.events: list[object] = []

        def start(self, stage: str, total: int) -> None:
            self.events.append(("start", stage, total))

        def advance(self, done: int, detail: str = "") -> None:
            self.events.append(done)

        def finish(self, detail: str = "") -> None:
            self.events.append("finish")

    told = Told()
    get(server.serve("/t.csv", CSV), progress=told)
    assert told.events[0] == ("start", "download", len(CSV))
    assert told.events[-2:] == [len(CSV), "finish"]
