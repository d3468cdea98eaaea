"""Names and paths in texts, as links of the reference's pages."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest_testbed
from pytest_testbed import plugin

__all__ = ["DOCS", "linked", "name_links", "slug"]

DOCS = Path(__file__).resolve().parent.parent
PAGE = re.compile(r"\bdocs/([\w./-]+\.md)(#[\w-]+)?")
CODE = re.compile(r"`([^`]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def headings(page: str) -> dict[str, str]:
    """Return the headings of a page by their anchors, the first one below ""."""
    path = DOCS / page
    if not path.is_file():
        raise SystemExit(f"docs/{page}, to which a docstring leads, is not there")
    found = HEADING.findall(re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL))
    return {"": found[0], **{slug(each): each for each in found}}


def page_link(page: str, anchor: str) -> str:
    """Return a link to a page of the documentation, by its title."""
    titles = headings(page)
    if anchor not in titles:
        raise SystemExit(f"docs/{page}#{anchor}, to which a docstring leads, is not there")
    folder, _, name = page.rpartition("/")
    where = name if folder == "reference" else f"../{page}"
    return f"[{titles[anchor]}]({where}{'#' if anchor else ''}{anchor})"


@cache
def name_links() -> dict[str, str]:
    """Return where names in code lead: fixtures, options, public classes."""
    parts = [plugin, *map(import_module, plugin.PARTS)]
    fixtures = [name for part in parts for name, value in vars(part).items() if type(value) is type(plugin.testbed)]
    return {
        **{name: f"fixtures.md#{name}" for name in fixtures if not name.startswith("_")},
        **{row.ini: f"options.md#{row.ini}" for section in plugin.sections() for row in section.options()},
        **{name: f"classes.md#{'errors' if is_error(name) else name.lower()}" for name in pytest_testbed.__all__},
    }


def is_error(name: str) -> bool:
    """Tell whether a public class is one of the errors, which have a table alone."""
    return issubclass(getattr(pytest_testbed, name), BaseException)


def linked(text: str, but: str = "") -> str:
    """Return a text with links where it names a page of the documentation, a fixture, an option or a class.

    Args:
        text: of a docstring.
        but: a name that is no link: the one that the text is about.
    """
    seen = {but}

    def with_link(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen or name not in name_links():
            return match[0]
        seen.add(name)  # once is enough
        return f"[{match[0]}]({name_links()[name]})"

    parts = CODE.split(text)  # what stands in code is at every second place
    plain = [re.sub(r"[*<]", r"\\\g<0>", PAGE.sub(_page, part)) for part in parts[::2]]
    names = [CODE.sub(with_link, f"`{part}`") for part in parts[1::2]]
    return "".join(word for pair in zip(plain, [*names, ""], strict=True) for word in pair)


def _page(match: re.Match[str]) -> str:
    return page_link(match[1], (match[2] or "").removeprefix("#"))
