"""A headless Chromium for tests of pages: what one shows, logs, asks the network for and spills.

Spoken to over the Chrome DevTools Protocol (https://chromedevtools.github.io/devtools-protocol/).
Accessibility is checked by axe-core, as the package axe-core-python ships it.
"""

from __future__ import annotations

import base64
import importlib.util
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

WAIT = 30.0  # seconds at most for the browser to start, and for any one answer
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Text beyond its own block, beyond a box that hides it without an ellipsis, or beyond the window.
_OVERFLOWING = """(() => {
  const found = new Set(), wide = document.documentElement.clientWidth;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const own = node.parentElement;
    const skipped = !own.checkVisibility() || own.closest("svg, .hidden, option");
    if (skipped || !node.data.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const right = Math.max(...[...range.getClientRects()].map(box => box.right));
    let block = own, limit = wide;
    while (getComputedStyle(block).display.startsWith("inline")) block = block.parentElement;
    for (let at = block; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.textOverflow === "ellipsis" || ["auto", "scroll"].includes(style.overflowX)) {
        limit = Infinity;
        break;
      }
      if (at === block || style.overflowX === "hidden")
        limit = Math.min(limit, at.getBoundingClientRect().right);
    }
    if (right > limit + 1) found.add(`${own.tagName}: ${node.data.trim().slice(0, 60)}`);
  }
  if (document.scrollingElement.scrollWidth > wide) found.add("the page scrolls sideways");
  return [...found];
})()"""

_VIOLATIONS = """axe.run(document, {resultTypes: ["violations"]}).then(found =>
  found.violations.flatMap(rule => rule.nodes.map(node =>
    `${rule.id}: ${rule.help}: ${node.target.join(" ")}: ${node.html.slice(0, 120)}`)))"""


class Page:
    """One open page. `errors` and `external` grow as the page does things."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.errors: list[str] = []  # console errors, exceptions, refused by the page's policy
        self.external: list[str] = []  # requests to anywhere but files and loopback

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        return self.browser.call(method, self.session, **params)

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression gives; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """What the expression gives once that is true."""
        until = time.monotonic() + WAIT
        while not (value := self.evaluate(script)):
            if time.monotonic() > until:
                raise AssertionError(f"never true: {script}")
            time.sleep(0.05)
        return value

    def text(self) -> str:
        """What a reader sees."""
        return self.evaluate("document.body.innerText")

    def overflowing(self) -> list[str]:
        """Elements whose text leaves its box or the window."""
        return self.evaluate(_OVERFLOWING)

    def violations(self) -> list[str]:
        """What axe-core has to object to."""
        self.evaluate(f"{axe_source()};0")
        return self.evaluate(_VIOLATIONS)

    def press(self, key: str) -> None:
        """One key of the keyboard, by its DOM name, such as `Tab`."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def screenshot(self, path: str | Path, *, whole: bool = True) -> None:
        """A PNG of the whole page, or of what the window shows."""
        options: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000)}
            options = {"captureBeyondViewport": True, "clip": {**clip, "scale": 1}}
        image = self.call("Page.captureScreenshot", **options)["data"]
        Path(path).write_bytes(base64.b64decode(image))

    def close(self) -> None:
        """Close the tab."""
        self.browser.close_page(self)

    def notice(self, method: str, params: dict[str, Any]) -> None:
        """Keep what an event says that a test wants to know."""
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(
                f"{params['entry']['text']} {params['entry'].get('url', '')}".strip()
            )
        elif method == "Network.requestWillBeSent":
            url = urlsplit(params["request"]["url"])
            if url.scheme in ("http", "https", "ws", "wss") and url.hostname not in LOOPBACK:
                self.external.append(params["request"]["url"])


class Browser:
    """A running Chromium; `open` gives pages."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.pages: dict[str, Page] = {}

    def open(
        self, target: str | Path, width: int = 1280, *, dark: bool = False, height: int = 900
    ) -> Page:
        """A file or URL in a window of that width, loaded."""
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        url = target if isinstance(target, str) else target.resolve().as_uri()
        answer = page.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise AssertionError(f"{url}: {answer['errorText']}")
        page.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
        return page

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command, and its result; events that arrive meanwhile go to their pages."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        self.socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self.socket.recv(timeout=WAIT))
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            page = self.pages.get(answer.get("sessionId", ""))
            if page is not None and "method" in answer:
                page.notice(answer["method"], answer["params"])

    def close_page(self, page: Page) -> None:
        """Close a page's tab."""
        page.call("Page.close")
        del self.pages[page.session]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser with a profile of its own, gone afterwards.

    It resolves no name, so whatever asks for another machine fails, and is noted.
    """
    from websockets.sync.client import connect

    program = find_chromium()
    assert program is not None
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
        ]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([program, *options, "about:blank"], stdout=quiet, stderr=quiet)
        try:
            address = _address(Path(profile) / "DevToolsActivePort", process)
            with connect(address, max_size=None, open_timeout=WAIT) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(written: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens: it writes port and path to a file of its profile."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until and process.poll() is None:
        lines = written.read_text().split() if written.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError(f"Chromium did not start (exit code {process.poll()})")


def find_chromium() -> str | None:
    """The browser's program, if one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def axe_source() -> str:
    """The text of axe-core."""
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None and found.origin is not None
    return (Path(found.origin).parent / "axe.min.js").read_text()


def why_not() -> str | None:
    """Why pages cannot be looked at here; None where they can."""
    if find_chromium() is None:
        return f"no Chromium: none of {', '.join(NAMES)} is on the path"
    missing = [n for n in ("axe_core_python", "websockets") if not importlib.util.find_spec(n)]
    return f"not installed: {', '.join(missing)} (pip install -e .[dev])" if missing else None
