"""Files fetched over http(s): size-capped, and checked by sha256 before anyone reads them."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from aigc_pipeline.errors import InputError

TIMEOUT_SECONDS = 60.0
MAX_BYTES = 4 * 2**30
_CHUNK = 2**20


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
    gives more than `max_bytes`, redirects away from http(s), or the checksum differs.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise InputError(f"{at}: a user name or password in a file's URL is not supported")
    path = folder / (PurePosixPath(unquote(parts.path)).name or "download")
    opener = urllib.request.build_opener(_SafeRedirects())
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
