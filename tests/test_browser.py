"""Pages in a real browser: no error, no request, no spilled text, nothing axe-core objects to."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_kit import Browser

GOOD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Good</title></head>
<body><main><h1>Good</h1><p>Nothing to object to.</p></main></body></html>"""
BAD = """<!doctype html><html><head><meta charset="utf-8"><title>Bad</title></head>
<body><div style="width:80px;background:#fff;color:#eee">Donaudampfschifffahrtsgesellschaft</div>
<img src="https://example.org/pixel.png"><script>console.error("loud"); nobody()</script></body>"""


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_the_kit_finds_what_is_wrong(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text(GOOD)
    bad.write_text(BAD)

    page = browser.open(good, width, dark=dark)
    found = page.errors + page.external + page.overflowing() + page.violations()
    assert found == []
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    page.screenshot(tmp_path / "good.png")
    assert (tmp_path / "good.png").read_bytes().startswith(b"\x89PNG")
    page.close()

    page = browser.open(bad, width, dark=dark)
    assert page.external == ["https://example.org/pixel.png"]
    assert any("loud" in error for error in page.errors)
    assert any("nobody is not defined" in error for error in page.errors)
    assert page.overflowing() == ["DIV: Donaudampfschifffahrtsgesellschaft"]
    assert {text.split(":")[0] for text in page.violations()} >= {"color-contrast", "image-alt"}
    page.close()
