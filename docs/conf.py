"""The documentation site: sphinx-build -W -n --keep-going -b html docs build/docs.

It needs no network, neither when it is built nor when it is read.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from pygments.lexers.special import TextLexer
from pygments.lexers.sql import PostgresLexer
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "pytest-testbed"
copyright = "the pytest-testbed authors"
release = version = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx_copybutton", "plain_markdown"]
exclude_patterns = ["_ext", "_static"]
nitpicky = True

smartquotes = False  # "" is a text with nothing in it, and -- begins an option
myst_heading_anchors = 4
# where the pages' links to files outside of docs/ lead, e.g. https://example.com/pytest-testbed/blob/main
plain_markdown_repository = ""
# files beside docs/ that are pages of the site, too
plain_markdown_pages = {
    "README.md": "index",
    "CHANGELOG.md": "project/changelog",
    "CONTRIBUTING.md": "project/contributing",
    "SECURITY.md": "project/security",
}

html_theme = "furo"
html_title = "pytest-testbed"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f5f8b",
        "color-brand-content": "#1f5f8b",
        "color-brand-visited": "#5b4b8a",
        "color-code-background": "#f5f6f8",
    },
    "dark_css_variables": {"color-brand-primary": "#7fb7dd", "color-brand-content": "#7fb7dd", "color-brand-visited": "#b3a4e0"},
}
pygments_style = "a11y-high-contrast-light"  # of accessible-pygments, which furo brings
pygments_dark_style = "github-dark"


def setup(app: Sphinx) -> None:
    """Name the languages of code blocks that Pygments does not know by these names."""
    app.add_lexer("csv", TextLexer)
    app.add_lexer("sql", PostgresLexer)  # knows DO $$ … $$
