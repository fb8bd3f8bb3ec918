"""What pages say to people: one catalogue a language, `en.toml` and `zh.toml`, with the same keys.

A message is HTML by its author, with places for values in braces; values are escaped. Where a
number decides between two wordings, `KEY.one` and `KEY.other` stand in place of `KEY`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from aigc_pipeline.spec import Locale


class Messages:
    """The messages of one language, by key: `text("verdict.refused")`."""

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        self.texts = catalogue(locale)

    def __call__(self, key: str, /, **values: Any) -> Markup:
        """A message with its values. Raises KeyError for one that is not in the catalogue."""
        text = Markup(self.texts[key])
        return text.format(**values) if values else text

    def __contains__(self, key: str) -> bool:
        return key in self.texts

    def count(self, key: str, count: int, /, **values: Any) -> Markup:
        """A message about a number of things, `{count}` in it."""
        return self(f"{key}.{'one' if count == 1 else 'other'}", count=count, **values)

    def reason(self, why: str) -> Markup:
        """Why something was not evaluated: said in English by whatever could not do it."""
        if self.locale == "en":
            return Markup("{}").format(why)
        return Markup('<span lang="en" dir="ltr">{}</span>').format(why)


@cache
def catalogue(locale: Locale) -> dict[str, str]:
    """All messages of a language by their dotted keys."""
    file = Path(__file__).parent / f"{locale}.toml"
    return dict(_flat("", tomllib.loads(file.read_text(encoding="utf-8"))))


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(prefix, value)]
    return [
        leaf
        for key, inner in value.items()
        for leaf in _flat(f"{prefix}.{key}" if prefix else key, inner)
    ]
