"""Builds the site and looks at it in a real browser.

python docs/look.py                           # all pages, what is wrong with them
python docs/look.py --shots DIR [PAGE ...]    # and pictures of pages, e.g. how-to/ci, at two widths, light and dark

It needs the dependency group `look` and the system's Chromium. Exit code 1 where something is wrong: a page that scrolls
sideways on a telephone, an error on the console, a picture or file that is missing, a link within the site that leads
nowhere, a request to another host.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urldefrag

from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).resolve().parent
WIDTHS = {"wide": 1280, "narrow": 390}
SCHEMES = ("light", "dark")
PIECE = 1600
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# what sticks out at the right, and has no box of its own that scrolls
STICKS_OUT = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const boxed = (node) => {
        for (let box = node.parentElement; box && box !== document.body; box = box.parentElement)
            if (getComputedStyle(box).overflowX !== 'visible') return true;
        return false;
    };
    return [...document.querySelectorAll('main *, article *')]
        .filter(node => node.getBoundingClientRect().right > width + 1 && !boxed(node))
        .map(node => `${node.tagName.toLowerCase()}: ${node.textContent.trim().slice(0, 60)}`)
        .slice(0, 3);
}"""
SCROLLS = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
MISSING = "() => [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"
SILENT = "() => [...document.querySelectorAll('article img')].filter(image => !image.alt).map(image => image.src)"
LINKS = "() => [...document.querySelectorAll('a[href]')].map(link => link.href)"
NAMES = "() => [...document.querySelectorAll('[id]')].map(node => node.id)"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def build(out: Path) -> None:
    """Build the site, warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-E", "-q", "-b", "html", DOCS, out]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("the site could not be built")


def browser_of_system() -> str:
    """Return the path of a Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise SystemExit(f"none of {', '.join(BROWSERS)} was found: on Debian, apt-get install chromium")
    return found


def opened(browser: Browser, width: int, scheme: str) -> Page:
    """Return a page of a screen of its own."""
    return browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()


class Look:
    """Looks at every page as a telephone shows it, and keeps what is wrong."""

    def __init__(self, page: Page, site: str) -> None:
        """Listen for what the browser has to tell."""
        self.page, self.site = page, site
        self.here = ""
        self.wrong: list[str] = []
        self.links: dict[str, set[str]] = {}
        self.names: dict[str, set[str]] = {}
        page.on("console", lambda message: message.type == "error" and self.note(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"error: {error}"))
        page.on("requestfailed", lambda request: self.note(f"not loaded: {request.url}"))
        page.on("response", lambda answer: answer.status >= 400 and self.note(f"{answer.status}: {answer.url}"))
        page.on("request", lambda request: request.url.startswith(("http:", "https:")) and self.stays(request.url))

    def note(self, text: str) -> None:
        """Keep one thing that is wrong with the page at which we look."""
        self.wrong.append(f"{self.here}: {text}")

    def stays(self, url: str) -> None:
        """See that nothing is asked of another host."""
        if not url.startswith(self.site):
            self.note(f"asks another host: {url}")

    def visit(self, name: str) -> None:
        """Look at one page."""
        self.here = name
        self.page.goto(f"{self.site}{name}.html", wait_until="load")
        if self.page.evaluate(SCROLLS):
            self.note(f"scrolls sideways: {self.page.evaluate(STICKS_OUT)}")
        for picture in self.page.evaluate(MISSING):
            self.note(f"a picture is missing: {picture}")
        for picture in self.page.evaluate(SILENT):
            self.note(f"a picture without a text for those who cannot see it: {picture}")
        url = f"{self.site}{name}.html"
        self.names[url] = set(self.page.evaluate(NAMES))
        self.links[name] = {link for link in self.page.evaluate(LINKS) if link.startswith(self.site)}

    def follow(self, out: Path) -> None:
        """See where all links within the site lead."""
        for name, links in self.links.items():
            self.here = name
            for link in sorted(links):
                url, anchor = urldefrag(link)
                url = f"{url}index.html" if url.endswith("/") else url
                if not (out / url.removeprefix(self.site)).is_file():
                    self.note(f"leads nowhere: {link}")
                elif anchor and url in self.names and anchor not in self.names[url]:
                    self.note(f"leads to nothing on its page: {link}")


def take_shots(browser: Browser, site: str, names: list[str], folder: Path) -> None:
    """Take pictures of whole pages, in pieces that can be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    for word, width in WIDTHS.items():
        for scheme in SCHEMES:
            page = opened(browser, width, scheme)
            for name in names:
                page.goto(f"{site}{name}.html", wait_until="load")
                height = page.evaluate("() => document.documentElement.scrollHeight")
                for number, top in enumerate(range(0, height, PIECE), start=1):
                    clip = {"x": 0, "y": top, "width": width, "height": min(PIECE, height - top)}
                    path = folder / f"{name.replace('/', '.')}.{word}.{scheme}.{number}.png"
                    page.screenshot(path=path, full_page=True, clip=clip)
            page.context.close()


def main() -> None:
    """Build, look, tell."""
    parser = argparse.ArgumentParser(description="Build the site and look at it in a browser.")
    parser.add_argument("pages", nargs="*", help="pages to take pictures of; all if none is named")
    parser.add_argument("--shots", type=Path, help="the folder for pictures")
    parser.add_argument("--out", type=Path, help="where to build the site; a temporary folder if not said")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary) / "site"
        build(out)
        pages = sorted(path.relative_to(out).with_suffix("").as_posix() for path in out.rglob("*.html"))
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium has none for root
        with served(out) as site, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_of_system(), args=sandbox)
            look = Look(opened(browser, WIDTHS["narrow"], "light"), site)
            for name in pages:
                look.visit(name)
            look.follow(out)
            if given.shots:
                take_shots(browser, site, given.pages or pages, given.shots)
            browser.close()
    print(*look.wrong, f"{len(pages)} pages, {len(look.wrong)} things are wrong", sep="\n")
    sys.exit(1 if look.wrong else 0)


if __name__ == "__main__":
    main()
