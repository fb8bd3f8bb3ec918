"""Files fetched over http(s): size-capped, and checked by sha256 before anyone reads them.

Addresses within a network (private, loopback, link-local) are refused, whatever name leads there
and however often it redirects: else a dataset file could read what only this machine can reach.
`$AIGC_ALLOWED_HOSTS` names the hosts that may be asked all the same, separated by commas.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from aigc_pipeline.errors import InputError

HOSTS_VARIABLE = "AIGC_ALLOWED_HOSTS"
TIMEOUT_SECONDS = 60.0
MAX_BYTES = 4 * 2**30
_CHUNK = 2**20
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def download(
    url: str,
    folder: Path,
    *,
    sha256: str | None,
    at: str,
    timeout: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Stream a URL into `folder` under its own file name.

    sha256: hex checksum it must have; None only where the caller is about to record it.
    timeout: seconds without an answer. Raises InputError when the server does not give the file,
    gives more than `max_bytes`, redirects away from http(s), is within a network and not allowed,
    or the checksum differs.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise InputError(f"{at}: a user name or password in a file's URL is not supported")
    path = folder / (PurePosixPath(unquote(parts.path)).name or "download")
    opener = urllib.request.build_opener(_SafeRedirects(), _Http(), _Https())
    digest, size = hashlib.sha256(), 0
    try:
        with opener.open(url, timeout=timeout) as response, path.open("xb") as handle:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise InputError(f"{at}: the file is larger than {max_bytes:,} bytes")
                digest.update(chunk)
                handle.write(chunk)
            expected = response.headers.get("Content-Length")
    except _InwardError:
        raise InputError(
            f"{at}: the address is not a public one; if the host may be asked, name it in"
            f" {HOSTS_VARIABLE}"
        ) from None
    except urllib.error.HTTPError as error:
        raise InputError(f"{at}: the server answered {error.code}; check the address") from None
    except urllib.error.URLError as error:
        raise InputError(
            f"{at}: cannot be fetched ({error.reason}); check address and network"
        ) from None
    except (OSError, ValueError) as error:  # a time-out or a torn connection while reading
        raise InputError(
            f"{at}: the download broke off ({type(error).__name__}); try again"
        ) from None
    if expected is not None and expected.isdigit() and int(expected) != size:
        raise InputError(f"{at}: only {size:,} of {int(expected):,} bytes arrived; try again")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise InputError(
            f"{at}: the file's sha256 is {digest.hexdigest()}, not the one given; if the change is"
            " meant, give the new one"
        )
    return path


def public_url(url: str) -> str:
    """A URL without user, password, query and fragment, any of which may hold a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within http(s) and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            raise urllib.error.URLError(f"it redirects from {old} to {new}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _InwardError(Exception):
    """A host whose address is not public."""


def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    """Where a host is, as addresses that may be connected to. Raises _InwardError, OSError."""
    found = [where[4] for where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    allowed = {name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")}
    if host.lower() not in allowed:
        for address in found:
            ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
            if not _is_public(ip):
                raise _InwardError
    return [(str(address[0]), port) for address in found]


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address):  # it may stand for an IPv4 address
        within = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if ip in _NAT64:
            within = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = within or ip
    return ip.is_global and not ip.is_multicast


def _connect(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
    """Connect to an address that was looked at, so that no second answer of DNS can differ."""
    last: OSError = OSError("no address")
    for place in _addresses(*address):
        try:
            return socket.create_connection(place, *args, **options)
        except OSError as error:
            last = error
    raise last


class _HttpConnection(http.client.HTTPConnection):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._create_connection = _connect


class _HttpsConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._create_connection = _connect


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> Any:
        if req.has_proxy():  # the proxy connects; only what is known to be inward is refused here
            _check_target(req)
            return super().http_open(req)
        return self.do_open(_HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> Any:
        if req._tunnel_host:
            _check_target(req)
            return super().https_open(req)
        return self.do_open(_HttpsConnection, req)


def _check_target(request: Any) -> None:
    parts = urlsplit(request.full_url)
    try:
        _addresses(parts.hostname or "", parts.port or 80)
    except socket.gaierror:  # a name that only the proxy knows
        return
