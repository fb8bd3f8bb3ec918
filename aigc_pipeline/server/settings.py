"""What `aigc serve` is told: where to listen, who may ask, and how much one query may take."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from aigc_pipeline.errors import InputError

MIN_TOKEN = 16  # characters
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MiB = 2**20


@dataclass(frozen=True)
class Limits:
    """How much one query may take.

    seconds: until it is stopped. rows: of an answer; the rest is left out and the answer says so.
    memory: bytes for its work. answer: bytes of an encoded answer. sql: characters of its text.
    workers: queries at a time. waiting: queries that may queue for a worker. patience: seconds they
    queue at most.
    """

    seconds: float = 30.0
    rows: int = 10_000
    memory: int = 512 * MiB
    answer: int = 64 * MiB
    sql: int = 50_000
    workers: int = 2
    waiting: int = 500
    patience: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (("seconds", 0.1), ("rows", 1), ("memory", 64 * MiB), ("workers", 1)):
            if (value := getattr(self, name)) < least:
                raise InputError(f"{name}: {value} is too little; give at least {least}")


@dataclass(frozen=True)
class ServerSettings:
    """Where to listen and who may ask.

    Raises:
        InputError: another host than loopback without a token, or a token that can be guessed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < MIN_TOKEN:
            raise InputError(
                f"the token has {len(self.token)} characters; give at least {MIN_TOKEN}, e.g. from"
                " `openssl rand -hex 32`, in AIGC_TOKEN"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise InputError("the token: give plain ASCII, which every client sends unchanged")
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host}: others can reach this address, so it takes a token;"
                " set AIGC_TOKEN, or stay with --host 127.0.0.1"
            )

    def answers_to(self, host: str) -> bool:
        """Whether a request's Host header names this server.

        A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding); its name then
        stands here. With a token on any address every name is taken: such a page has no token.
        """
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in LOOPBACK_NAMES or name == self.host.lower():
            return True
        return self.token is not None and not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
