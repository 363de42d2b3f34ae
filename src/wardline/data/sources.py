"""Data from where the policy says: a data set that ships with scikit-learn, a file, or a pinned download."""

from __future__ import annotations

import re
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wardline.core import DataError, IntegrityError, NoProgress, Progress, digest_bytes
from wardline.data._builtin import builtin_table
from wardline.data._https import check_url, download
from wardline.data.digest import table_digest
from wardline.data.tables import parse_table, read_bytes

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DOWNLOAD_BYTES = 1 << 32

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A table and what it was read from.

    Attributes:
        table: the data; never printed.
        sha256: of the file's bytes; for a data set of scikit-learn, of the table (`table_digest`).
        description: the source as the policy names it, and its size.
    """

    table: pa.Table = field(repr=False)
    sha256: str
    description: str


def fetch(
    source: str,
    *,
    sha256: str | None,
    base: Path,
    cache: Path | None = None,
    progress: Progress | None = None,
    context: ssl.SSLContext | None = None,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    header: Sequence[str] | None = None,
) -> Source:
    """Read the data that a policy names. The bytes that are parsed are the bytes that were hashed.

    Args:
        source: ``sklearn:NAME``, ``file:PATH`` or ``https://HOST/PATH``.
        sha256: the digest that the data must have, 64 hexadecimal digits. Needed for https; for the others
            checked where given.
        base: the policy's folder; a relative PATH starts there.
        cache: where downloads are kept, under their digest. None keeps nothing.
        progress: told the bytes of a download.
        context: TLS settings of a download; by default the system's authorities and those of SSL_CERT_FILE.
        max_bytes: a larger download is refused.
        header: names of the columns of a CSV file that does not begin with a line of them.

    Raises:
        DataError: if the source is not understood, or cannot be reached or read.
        IntegrityError: if the digest differs.
        WorkspaceError: if the cache cannot be written.
    """
    if sha256 is not None:
        sha256 = sha256.lower()
        if not _SHA256.fullmatch(sha256):
            raise DataError("a sha256 has 64 hexadecimal digits", where="data.sha256", hint="copy it whole")
    scheme, _, rest = source.partition(":")
    match scheme:
        case "sklearn":
            return _from_sklearn(rest, sha256)
        case "file" if rest:
            return _from_file(rest, sha256, base, header)
        case "https":
            if sha256 is None:
                raise DataError(
                    "a download needs a sha256", where=source, hint="state data.sha256, as its publisher tells it"
                )
            return _from_https(
                source,
                sha256,
                cache,
                progress=progress or NoProgress(),
                context=context,
                max_bytes=max_bytes,
                header=header,
            )
        case _:
            hint = "write sklearn:NAME, file:PATH or https://HOST/PATH"
            if scheme == "http":
                hint = "write https:// instead: over http anyone on the way can read and change the data"
            raise DataError("the source of the data is not understood", where="data.source", hint=hint)


def _check(found: str, expected: str | None, where: str) -> None:
    if expected is not None and found != expected:
        raise IntegrityError(
            f"the data has sha256 {found}, the policy says {expected}",
            where=where,
            hint="find out which is right; change the policy only if the data was meant to change",
        )


def _from_sklearn(name: str, sha256: str | None) -> Source:
    table = builtin_table(name)
    found = table_digest(table)
    _check(found, sha256, f"sklearn:{name}")
    return Source(table=table, sha256=found, description=f"sklearn:{name}, {table.num_rows:,} rows")


def _from_file(path: str, sha256: str | None, base: Path, header: Sequence[str] | None) -> Source:
    data = read_bytes(base / path)
    found = digest_bytes(data)
    _check(found, sha256, path)
    table = parse_table(data, name=Path(path).name, where=path, header=header)
    return Source(table=table, sha256=found, description=f"file:{path}, {len(data):,} bytes")


def _from_https(
    url: str,
    sha256: str,
    cache: Path | None,
    *,
    progress: Progress,
    context: ssl.SSLContext | None,
    max_bytes: int,
    header: Sequence[str] | None,
) -> Source:
    check_url(url)
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="wardline-") as folder:
            path = Path(folder) / sha256
            download(url, path, sha256=sha256, max_bytes=max_bytes, progress=progress, context=context)
            data = read_bytes(path)
    else:
        path = cache / f"sha256-{sha256}"
        # A copy that was changed since is replaced, and the new one has to have the digest just as well.
        if not path.is_file() or digest_bytes(read_bytes(path)) != sha256:
            download(url, path, sha256=sha256, max_bytes=max_bytes, progress=progress, context=context)
        data = read_bytes(path)
    _check(digest_bytes(data), sha256, url)
    name = Path(unquote(urlsplit(url).path)).name
    table = parse_table(data, name=name or "download", where=url, header=header)
    return Source(table=table, sha256=sha256, description=f"{url}, {len(data):,} bytes")
