"""What the site makes of plain Markdown: docs/_ext/plain_markdown.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

CONF = f"""
import sys

sys.path.insert(0, {str(ROOT / "docs" / "_ext")!r})
extensions = ["myst_parser", "plain_markdown"]
html_theme = "basic"
html_sidebars = {{"**": ["globaltoc.html"]}}
myst_heading_anchors = 2
plain_markdown_pages = {{"README.md": "index", "CHANGES.md": "changes"}}
plain_markdown_repository = "https://host.example/project"
"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
FILES = {
    "docs/conf.py": CONF,
    "docs/index.md": (
        "# Site\n\n- [One](one.md): the first.\n\n## More\n\n1. [Two](sub/two.md#anchor)\n2. See [elsewhere](three.md).\n\n"
        "Beside it: [the shop](../examples/shop).\n"
    ),
    "docs/one.md": (
        "# One\n\n**`a.py`**\n\n```python\na = 1\n```\n<!-- run: passed=1 -->\n\n**`a.py`**\n```python\na = 2\n```\n\n"
        "**`b.py`** of somebody else:\n\n```python\nb = 1\n```\n\n**`alone.py`**\n\nText.\n\n"
        "![What it shows](picture.svg)\n\n*What *it* means.*\n\n![Without words](picture.svg)\n\nText.\n"
    ),
    "docs/sub/two.md": (
        "# Two\n\n## Anchor\n\n[changes](../../CHANGES.md), [changes there](../../CHANGES.md#change), "
        "[an example](../../examples/shop), [a file](../../examples/shop/app.py), [the first](../one.md)\n"
    ),
    "docs/changes.md": "---\norphan: true\n---\n\n```{include} ../CHANGES.md\n:relative-docs: docs/\n```\n",
    "docs/three.md": "---\norphan: true\n---\n\n# Three\n",
    "docs/picture.svg": PICTURE,
    "CHANGES.md": "# Changes\n\n## Change\n\n[a page](docs/one.md), [an example](examples/shop)\n",
    "README.md": "# Project\n",
    "examples/shop/app.py": "",
}


def build(project: Path, *options: str) -> str:
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", *options, project / "docs", project / "out"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    assert build(project) == ""
    return project / "out"


@pytest.fixture(scope="module")
def one(site: Path) -> str:
    return (site / "one.html").read_text(encoding="utf-8")


def test_names_of_files_are_captions(one: str) -> None:
    captions = re.findall(r'<div class="code-block-caption">.*?<span class="pre">(.*?)</span>', one, re.DOTALL)

    assert captions == ["a.py", "a.py"]
    assert '<strong><code class="docutils literal notranslate"><span class="pre">a.py' not in one
    assert '<strong><code class="docutils literal notranslate"><span class="pre">alone.py' in one


def test_blocks_have_addresses(one: str) -> None:
    assert re.findall(r'id="(file-[\w-]+)"', one) == ["file-a-py", "file-a-py-2"]


def test_words_below_a_picture_are_its_caption(one: str) -> None:
    assert len(re.findall("<figure", one)) == 1
    assert re.search(r'alt="What it shows".*<figcaption>.*What.*it.*means', one, re.DOTALL)
    assert 'alt="Without words"' in one


def test_comments_are_not_there(one: str) -> None:
    assert "passed=1" not in one


def test_lists_of_an_index_are_the_contents(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    navigation = index[index.index("sphinxsidebar") :]

    assert [name for name in ("one.html", "sub/two.html") if f'href="{name}"' not in navigation] == []
    assert 'href="three.html"' not in navigation, "an entry that only has a link in it is no part of the contents"


def test_a_page_that_no_list_has_is_told(site: Path) -> None:
    (site.parent / "docs" / "four.md").write_text("# Four\n", encoding="utf-8")

    told = build(site.parent, "-b", "pseudoxml", "-E")

    (site.parent / "docs" / "four.md").unlink()
    assert "four.md" in told
    assert "toctree" in told


def test_links_to_what_is_beside_the_documentation(site: Path) -> None:
    page = (site / "sub" / "two.html").read_text(encoding="utf-8")
    links = re.findall(r'<a class="reference (?:internal|external)" href="([^"]*)"', page)

    assert [link for link in links if "picture" not in link][:5] == [
        "../changes.html",
        "../changes.html#change",
        "https://host.example/project/examples/shop",
        "https://host.example/project/examples/shop/app.py",
        "../one.html",
    ]


def test_links_of_a_page_that_shows_another_file(site: Path) -> None:
    page = (site / "changes.html").read_text(encoding="utf-8")

    assert '<a class="reference internal" href="one.html">' in page
    assert '<a class="reference external" href="https://host.example/project/examples/shop">' in page
