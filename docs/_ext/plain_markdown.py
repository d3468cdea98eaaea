"""Lets pages be plain Markdown, as a code host shows it, and still be a site.

What a page writes, and what becomes of it:

- a line with a file's name in bold, then a code block: a block with the name as its caption
- a picture, then a paragraph in italics: a figure with its caption
- in a page called index.md, lists whose entries begin with a link to a page: the table of contents
- a link to a file outside of the documentation: a link to that file's page, or into the repository
- comments: nothing
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata


def next_to(node: nodes.Node) -> nodes.Node | None:
    """Return the node that follows, under the same parent."""
    following = node.parent[node.parent.index(node) + 1 :]
    return following[0] if following else None


def only_child(node: nodes.Node, kind: type[nodes.Element]) -> nodes.Element | None:
    """Return the one child of an element, if it is all that is in it and of this kind; MyST sets empty texts round it."""
    children = [child for child in node.children if not isinstance(child, nodes.Text) or child.strip()]
    return children[0] if len(children) == 1 and isinstance(children[0], kind) else None


def named(node: nodes.Element, name: str, document: nodes.document) -> nodes.Element:
    """Give a node an address on its page, made of a name."""
    wanted = nodes.make_id(name)
    ids = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
    node["ids"].append(next(id for id in ids if id not in document.ids))
    document.set_id(node)
    return node


class Comments(SphinxTransform):
    """Drops comments, so that they do not stand between what belongs together."""

    default_priority = 200

    def apply(self, **kwargs: object) -> None:
        """Drop them."""
        for node in list(self.document.findall(nodes.raw)):
            text = node.astext().strip()
            if text.startswith("<!--") and text.endswith("-->") and "-->" not in text[:-3]:
                node.parent.remove(node)


class NamedBlocks(SphinxTransform):
    """Makes the name of a file the caption of the block that follows it."""

    default_priority = 210

    def apply(self, **kwargs: object) -> None:
        """Join the two."""
        for paragraph in list(self.document.findall(nodes.paragraph)):
            bold = only_child(paragraph, nodes.strong)
            name = bold and only_child(bold, nodes.literal)
            block = next_to(paragraph) if name else None
            if name and isinstance(block, nodes.literal_block):
                caption = nodes.caption("", "", nodes.literal("", name.astext()))
                caption.line, caption.source = paragraph.line, paragraph.source
                block.parent.remove(block)
                both = nodes.container("", caption, block, literal_block=True, classes=["literal-block-wrapper"])
                paragraph.replace_self(named(both, f"file {name.astext()}", self.document))


class Pictures(SphinxTransform):
    """Makes a figure of a picture and the paragraph in italics below it."""

    default_priority = 210

    def apply(self, **kwargs: object) -> None:
        """Join the two."""
        for paragraph in list(self.document.findall(nodes.paragraph)):
            picture = only_child(paragraph, nodes.image)
            below = next_to(paragraph) if picture else None
            words = only_child(below, nodes.emphasis) if isinstance(below, nodes.paragraph) else None
            if picture and below and words:
                caption = nodes.caption("", "", *words.children)
                caption.line, caption.source = below.line, below.source
                below.parent.remove(below)
                figure = nodes.figure("", picture, caption)
                paragraph.replace_self(named(figure, f"picture {Path(picture['uri']).stem}", self.document))


class Contents(SphinxTransform):
    """Makes the table of contents of the lists of links in an index page."""

    default_priority = 220

    def apply(self, **kwargs: object) -> None:
        """Put a hidden table behind all else, as the lists themselves are what is to be seen."""
        docname = self.env.docname
        if docname.rpartition("/")[2] != "index":
            return
        pages = list(self.pages())
        if pages:
            self.document[-1].append(self.table(docname, pages))

    def pages(self) -> Iterator[str]:
        """Yield the pages that entries of lists begin with a link to."""
        for entry in self.document.findall(nodes.list_item):
            link = next(iter(entry.findall(addnodes.pending_xref)), None)
            if link is not None and link["refdomain"] == "doc" and entry.astext().startswith(link.astext()):
                yield link["reftarget"]

    def table(self, docname: str, pages: list[str]) -> nodes.Element:
        """Return the node that Sphinx's own directive makes."""
        table = addnodes.toctree(
            parent=docname,
            entries=[(None, page) for page in pages],
            includefiles=pages,
            caption=None,
            maxdepth=-1,
            glob=False,
            hidden=True,
            includehidden=False,
            numbered=0,
            titlesonly=True,
        )
        table.source, table.line = self.document["source"], 1
        return nodes.compound("", table, classes=["toctree-wrapper"])


class Outside(SphinxTransform):
    """Gives links to what lies beside the documentation a target on the site."""

    default_priority = 210

    def apply(self, **kwargs: object) -> None:
        """Replace them."""
        docs = Path(self.env.srcdir)
        for kind in (addnodes.pending_xref, addnodes.download_reference):
            for node in list(self.document.findall(kind)):
                path = self.path(docs, node)
                if path.is_relative_to(docs.parent) and not path.is_relative_to(docs) and path.exists():
                    node.replace_self(self.link(path.relative_to(docs.parent).as_posix(), node))

    def path(self, docs: Path, node: nodes.Element) -> Path:
        """Return where a link leads: MyST has taken the suffix off those to Markdown, and made them begin at the top."""
        target = node["reftarget"].partition("#")[0]
        if node["refdomain"] == "doc":
            return docs / f"{target}.md"
        page = Path(self.env.doc2path(self.env.docname))
        shows_another = "```{include} " in page.read_text(encoding="utf-8")  # whose links begin where that one lies
        here = docs.parent if shows_another else page.parent
        return Path(os.path.normpath(here / target))

    def link(self, name: str, node: nodes.Element) -> nodes.Node:
        """Return a link to the page that shows a file, or into the repository, or else the name alone."""
        page = self.config.plain_markdown_pages.get(name)
        if page in self.env.found_docs:
            return addnodes.pending_xref(
                "",
                *node.children,
                refdoc=self.env.docname,
                refdomain="doc",
                reftype="myst",
                reftarget=page,
                reftargetid=node.get("reftargetid"),
                refexplicit=True,
            )
        if self.config.plain_markdown_repository:
            return nodes.reference("", "", *node.children, refuri=f"{self.config.plain_markdown_repository}/{name}")
        return nodes.literal("", name)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register all of it."""
    app.add_config_value("plain_markdown_repository", "", "env")
    app.add_config_value("plain_markdown_pages", {}, "env")
    for transform in (Comments, NamedBlocks, Pictures, Contents, Outside):
        app.add_transform(transform)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
