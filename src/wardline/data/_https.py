"""Downloading a file whose digest is known beforehand, over HTTPS and nothing else."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from wardline.core import DataError, IntegrityError, Progress, make_folder
from wardline.core.files import sync_folder, workspace_error

_PIECE_BYTES = 1 << 18
_QUIET_SECONDS = 30.0
_LONGEST_SECONDS = 3600.0


def check_url(url: str) -> None:
    """Refuse an address that is not plain https.

    Raises:
        DataError: if it is of another scheme, lacks a host, or holds a user name or password.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "https" and bool(parts.hostname)
        parts.port  # noqa: B018 (reading it is what checks it)
    except ValueError:
        raise DataError("the address cannot be understood", hint="write https://HOST/PATH") from None
    if not sound:
        raise DataError("only https addresses are downloaded", hint="write https://HOST/PATH, or file:PATH for a file")
    if parts.username is not None or parts.password is not None:
        # The source stands in the policy and in the evidence, where a password has no place.
        raise DataError("the address holds a user name or password", hint="download the file yourself, then use file:")


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to another https address, and to nothing else."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        fp.close()
        if urlsplit(newurl).scheme != "https":
            raise DataError("the server redirects to an address that is not https", hint="name the final address")
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    if context is None:
        context = ssl.create_default_context()  # verifies names and chains; SSL_CERT_FILE adds a private authority
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Built by hand: urllib's default would also open http, ftp and local files.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context),
        _HttpsRedirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "wardline"), ("Accept-Encoding", "identity")]
    return opener


def download(
    url: str, target: Path, *, sha256: str, max_bytes: int, progress: Progress, context: ssl.SSLContext | None = None
) -> None:
    """Download to a file, hashing what arrives; the file appears only if the digest matches.

    Args:
        url: an https address.
        target: the file to make; its folder is made if missing.
        sha256: what the bytes must hash to.
        max_bytes: more than this is refused.
        progress: told the bytes received.
        context: TLS settings; by default the system's authorities, and those of SSL_CERT_FILE.

    Raises:
        DataError: if the server cannot be reached, answers with an error, sends too much, or breaks off.
        IntegrityError: if its certificate is not trusted, or the digest differs.
        WorkspaceError: if the file cannot be written.

    Guarantee: whatever goes wrong, `target` is either absent (or what it was before) or has the digest.
    """
    check_url(url)
    make_folder(target.parent)
    try:
        descriptor, name = tempfile.mkstemp(prefix=".download.", dir=target.parent)
    except OSError as error:
        raise workspace_error(error, target) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            found = _receive(url, file, max_bytes=max_bytes, progress=progress, context=context, target=target)
        if found != sha256:
            raise IntegrityError(
                f"the download has sha256 {found}, the policy says {sha256}",
                where=url,
                hint="do not use it; ask the publisher which is right before you change the policy",
            )
        try:
            temporary.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise workspace_error(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)


def _receive(
    url: str, file: IO[bytes], *, max_bytes: int, progress: Progress, context: ssl.SSLContext | None, target: Path
) -> str:
    digest, received, began = hashlib.sha256(), 0, time.monotonic()
    too_much = DataError(
        f"the file is larger than {max_bytes:,} bytes", where=url, hint="download it yourself, then use file:"
    )
    try:
        with _opener(context).open(url, timeout=_QUIET_SECONDS) as answer:
            expected = _length(answer)
            if expected is not None and expected > max_bytes:
                raise too_much
            progress.start("download", expected or 0)
            # read1 returns what has arrived, so that a server that drips bytes still meets the time limit.
            while piece := answer.read1(_PIECE_BYTES):
                received += len(piece)
                if received > max_bytes:
                    raise too_much
                if time.monotonic() - began > _LONGEST_SECONDS:
                    raise DataError("the download takes too long", where=url, hint="download it yourself")
                digest.update(piece)
                _write(file, piece, target)
                progress.advance(received)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(
            f"the server answered {error.code}", where=url, hint="check data.source in the policy"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _network_error(error, url) from None
    if expected is not None and received < expected:
        raise DataError(
            f"the connection broke off after {received:,} of {expected:,} bytes", where=url, hint="try again"
        )
    _sync(file, target)
    progress.finish()
    return digest.hexdigest()


def _length(answer: Any) -> int | None:
    said = answer.headers.get("Content-Length", "")
    return int(said) if said.isdecimal() and len(said) < 20 else None


def _write(file: IO[bytes], piece: bytes, target: Path) -> None:
    left = memoryview(piece)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise workspace_error(error, target) from error


def _sync(file: IO[bytes], target: Path) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        raise workspace_error(error, target) from error


def _network_error(error: Exception, url: str) -> DataError | IntegrityError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return IntegrityError(
            f"the server's certificate is not trusted: {reason.verify_message.lower()}",
            where=url,
            hint="check the address; name a private authority by SSL_CERT_FILE",
        )
    if isinstance(reason, ssl.SSLError):
        return DataError("no secure connection could be made", where=url, hint="check the address and its server")
    if isinstance(reason, TimeoutError):
        return DataError("the server does not answer in time", where=url, hint="try again later")
    if isinstance(reason, http.client.HTTPException):
        return DataError("the connection broke off", where=url, hint="try again")
    said = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
    return DataError(
        f"the download failed: {said.lower()}",
        where=url,
        hint="check the address and the connection, or give a local copy with --data",
    )
