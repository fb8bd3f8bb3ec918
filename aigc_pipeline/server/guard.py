"""Who may ask: every request passes here before anything else sees it."""

from __future__ import annotations

import base64
import binascii
import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aigc_pipeline.server.settings import ServerSettings

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# What a browser says of a request that this server's own pages, or the person, did not make.
_FOREIGN = ("cross-site", "same-site")
METHODS = ("GET", "HEAD", "POST")


class Guard:
    """Turns away foreign hosts, foreign pages and whoever lacks the token; hardens every answer."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = list(message["headers"]) + [
                    (name.encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.encode() not in own
                ]
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        await (refusal or self.app)(scope, receive, hardened)

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.settings.answers_to(hosts[0]):
            return JSONResponse({"error": "this server does not answer to that host"}, 421)
        if method not in METHODS:
            allowed = {"allow": ", ".join(METHODS)}
            return JSONResponse({"error": "the endpoint is read-only"}, 405, allowed)
        origin = headers.get("origin")
        own = origin is None or origin.split("://", 1)[-1] == hosts[0]
        visit = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
        if not own or (headers.get("sec-fetch-site") in _FOREIGN and not visit):
            return JSONResponse({"error": "other sites' pages may not ask"}, 403)
        if self.settings.token is not None and not _knows(
            headers.getlist("authorization"), self.settings.token
        ):
            # A browser asks the person for it: any name, the token as the password.
            ask = {"www-authenticate": 'Basic realm="aigc", charset="UTF-8"'}
            return JSONResponse({"error": "a token is needed: Authorization: Bearer …"}, 401, ask)
        return None


def _knows(given: list[str], token: str) -> bool:
    """Whether the Authorization header has the token; compared in constant time."""
    if len(given) != 1:
        return False
    scheme, _, value = given[0].partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(value.encode(), token.encode())
