"""The worker processes of a server, and the queue in front of them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

from aigc_pipeline.lake import Lake
from aigc_pipeline.server.answers import JSON
from aigc_pipeline.server.settings import Limits
from aigc_pipeline.server.worker import HEADER

START = 60.0  # seconds for a worker to come up on a busy machine
GRACE = 2.0  # seconds for a query to give in once it is interrupted, before its process is ended
ENDED = "the query took its process with it: it needs more memory, or is nested too deeply"
# What a worker is given of the environment: enough for Python to start, nothing that is secret.
_KEPT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_SET = {
    "HOME": "/nonexistent",
    "PYTHONSAFEPATH": "1",  # not the server's own folder: a name in it could stand for a module
    # Arrow's own pool reserves a gigabyte at its first use, which would count as the query's.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class Refused(Exception):
    """An answer that is not rows: the HTTP status and a message for whoever asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Answer:
    """An encoded answer, its number of rows, and whether more exist."""

    body: bytes
    rows: int
    truncated: bool


class Pool:
    """Answers queries by as many processes as the limits allow; a dead one is replaced."""

    def __init__(self, lake: Lake, limits: Limits) -> None:
        self.lake, self.limits = lake, limits
        self.workers = [_Worker(lake, limits) for _ in range(limits.workers)]
        self.idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self.waiting = 0
        self.renewing: set[asyncio.Task[None]] = set()
        for worker in self.workers:
            self.idle.put_nowait(worker)

    async def start(self) -> None:
        """Start every worker, so that the first query need not wait for one."""
        await asyncio.gather(*(worker.start() for worker in self.workers))

    async def close(self) -> None:
        """End every worker."""
        for renewal in self.renewing:
            renewal.cancel()
        await asyncio.gather(*self.renewing, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self.workers))

    async def ask(self, sql: str, *, media: str = JSON, rows: int | None = None) -> Answer:
        """The answer to one query; raises Refused."""
        if len(sql) > self.limits.sql:
            raise Refused(413, f"the query is longer than {self.limits.sql} characters")
        most = min(rows or self.limits.rows, self.limits.rows)
        if self.waiting >= self.limits.waiting:
            raise Refused(503, "too many queries are waiting; ask again in a moment")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.limits.patience):
                worker = await self.idle.get()
        except TimeoutError:
            raise Refused(503, "all workers are busy; ask again in a moment") from None
        finally:
            self.waiting -= 1
        try:
            header, body = await worker.ask({"sql": sql, "media": media, "rows": most})
        finally:
            self._release(worker)
        if header["status"] != 200:
            raise Refused(header["status"], header["error"])
        return Answer(body, header["rows"], header["truncated"])

    def _release(self, worker: _Worker) -> None:
        """Let a worker take the next query; first of all a new process, where it needs one."""
        if not worker.spent:
            self.idle.put_nowait(worker)
            return
        renewal = asyncio.create_task(self._renew(worker))
        self.renewing.add(renewal)  # the loop itself keeps none
        renewal.add_done_callback(self.renewing.discard)

    async def _renew(self, worker: _Worker) -> None:
        try:
            await worker.end()
            await worker.start()
        except Refused:
            pass  # the next query tries again, and is told
        finally:
            self.idle.put_nowait(worker)


class _Worker:
    def __init__(self, lake: Lake, limits: Limits) -> None:
        self.limits = limits
        self.given = json.dumps({"lake": str(lake.home.resolve()), "limits": asdict(limits)})
        self.process: asyncio.subprocess.Process | None = None
        self.spent = False  # its process is to be replaced

    async def start(self) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aigc_pipeline.server.worker", self.given),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment | _SET,
        )
        try:
            async with asyncio.timeout(START):
                await self._receive()
        except (TimeoutError, asyncio.IncompleteReadError):
            await self.end()
            raise Refused(503, "no worker could be started; ask again in a moment") from None

    async def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Header and body of its answer; where that fails, the process is ended and made anew."""
        answer = None
        try:
            if self.process is None or self.process.returncode is not None:
                await self.start()
            assert self.process and self.process.stdin
            async with asyncio.timeout(self.limits.seconds + GRACE):
                self.process.stdin.write(json.dumps(request).encode() + b"\n")
                await self.process.stdin.drain()
                answer = await self._receive()
        except TimeoutError:
            took = f"the query took longer than {self.limits.seconds:g} s and was stopped"
            raise Refused(408, took) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Refused(413, ENDED) from None
        finally:
            # Without an answer: a late one would be taken for that to the next query.
            self.spent = answer is None or answer[0]["spent"]
        return answer

    async def end(self) -> None:
        process, self.process, self.spent = self.process, None, False
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _receive(self) -> tuple[dict[str, Any], bytes]:
        assert self.process and self.process.stdout
        head, body = HEADER.unpack(await self.process.stdout.readexactly(HEADER.size))
        header = json.loads(await self.process.stdout.readexactly(head))
        return header, await self.process.stdout.readexactly(body)
