"""Writes the generated parts of the reference from the plugin's own code.

python docs/generate_reference.py            # write
python docs/generate_reference.py --check    # exit with 1 where a page is not up to date

A page says where: `<!-- fixtures: begin -->` and `<!-- fixtures: end -->` are lines of their own, and what stands between
them is written anew. All else is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from reference_pages import classes, commands, fixtures, hooks, marks, options  # noqa: E402

PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/reference/options.md": {"options": options.full, "forms": options.forms},
    "docs/reference/fixtures.md": {"annotations": fixtures.overview, "fixtures": fixtures.entries},
    "docs/reference/marks.md": {"marks": marks.of_parts, "levels": marks.of_levels},
    "docs/reference/hooks.md": {"hooks": hooks.hooks, "contract": hooks.contract},
    "docs/reference/classes.md": {"classes": classes.classes, "others": classes.others, "errors": classes.errors},
    "docs/reference/commands.md": {"commands": commands.commands, "ends": commands.ends},
}
"""Each page with its generated parts."""


def renewed(page: str) -> str:
    """Return the text of a page with its generated parts made anew."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, make in PAGES[page].items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{page} must have the lines {begin} and {end} once each")
        made = f"{begin}\n\n{make()}\n\n{end}"
        text = re.sub(f"{begin}.*{end}", lambda _, made=made: made, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is not up to date")
    check = parser.parse_args().check
    stale = [page for page in PAGES if (ROOT / page).read_text(encoding="utf-8") != renewed(page)]
    for page in stale:
        if check:
            print(f"{page} is not up to date: run python docs/generate_reference.py", file=sys.stderr)
        else:
            (ROOT / page).write_text(renewed(page), encoding="utf-8")
            print(f"{page} written")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
