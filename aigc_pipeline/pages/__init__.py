"""Pages for people: self-contained HTML that loads nothing, light and dark, in several languages.

`templates/page.html.j2` is the frame of all of them: policy, styles, header, footer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from aigc_pipeline import __version__
from aigc_pipeline.pages.messages import Messages
from aigc_pipeline.spec import LOCALES, Locale

__all__ = ["LOCALES", "LONGEST", "Locale", "Messages", "isolated", "markdown", "percent", "render"]

LONGEST = 160  # characters of a name that a page shows


def render(template: Path, text: Messages, **values: Any) -> str:
    """A page from a template, which may include those beside it; every value is escaped.

    In templates `t` is `text`. Names that users chose pass through the filter `name`, shares
    through `percent`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(name=isolated, percent=percent)
    environment.globals.update(t=text, version=__version__)
    return environment.get_template(template.name).render(**values)


def isolated(name: object) -> Markup:
    """A name or value of the user's within a sentence.

    One that is written from right to left leaves the words around it in their order; of one that is
    very long, the page shows the beginning, and the rest where it is pointed at.
    """
    text = str(name)
    if len(text) <= LONGEST:
        return Markup("<bdi>{}</bdi>").format(text)
    return Markup('<bdi title="{}">{}…</bdi>').format(text, text[:LONGEST].rstrip())


def percent(value: float) -> str:
    """A share as a percentage of three significant digits at most; tiny ones keep two."""
    number = 100 * value
    if number == 0 or abs(number) >= 9.995:
        return f"{number:.0f} %" if number == 0 else f"{number:.1f} %"
    return f"{number:.2f} %" if abs(number) >= 0.01 else f"{number:.1g} %"


def markdown(value: object) -> str:
    """Text that Markdown shows as it is, on one line: within a table, a heading, a sentence."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&=:$^@/])", r"\\\1", line)
