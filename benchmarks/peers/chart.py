"""A chart as SVG, of bars one below the other: it can be read on a telephone, in the light and in the dark, and aloud."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from .model import OURS, Result, Row
from .show import figure, times

WIDTH, EDGE, HEAD, LINE, BAR, GAP = 480, 16, 34, 18, 9, 15
LETTER = 7.4
"""Width of a letter of the smaller text, about: what does not fit beside its figure is cut."""
STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; font: 13px system-ui, sans-serif; }
  .title { font-weight: 600; font-size: 14px; } .value { text-anchor: end; } .none { fill: #59636e; font-style: italic; }
  .other { fill: #8c959f; } .ours { fill: #0969da; } .rail { fill: #eaeef2; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #161b22; stroke: #3d444d; } text { fill: #e6edf3; } .none { fill: #9198a1; }
    .other { fill: #7d8590; } .ours { fill: #4493f8; } .rail { fill: #262c36; }
  }
"""


def chart(results: Sequence[Result], title: str) -> str:
    """Return a picture with a panel for each comparison; longer bars are slower.

    It has a ground of its own, so that its text can be read wherever it is shown.
    """
    parts: list[str] = []
    top = float(EDGE)
    for result in results:
        drawn, top = panel(result, top)
        parts += drawn
    height = top + EDGE / 2
    spoken = escape(". ".join(described(result) for result in results))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{spoken}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def panel(result: Result, top: float) -> tuple[list[str], float]:
    """Return the parts of one comparison, and where the next one begins."""
    inner = WIDTH - 2 * EDGE
    parts = [words(EDGE, top + 14, f"{result.title}: {result.first}", "title")]
    top += HEAD
    longest = max((value for row in result.rows if (value := row.median(result.first)) is not None), default=0.0)
    for row in result.rows:
        value = row.median(result.first)
        said = label(result, row)
        parts.append(words(EDGE, top, shortened(row.name, inner - len(said) * LETTER), "none" if value is None else ""))
        parts.append(words(WIDTH - EDGE, top, said, "value none" if value is None else "value"))
        if value is not None:
            length = max(2.0, inner * max(value, 0) / longest) if longest > 0 else 2.0
            kind = "ours" if row.contender == OURS else "other"
            parts.append(f'<rect class="rail" x="{EDGE}" y="{top + 6:.0f}" width="{inner}" height="{BAR}" rx="3"/>')
            parts.append(f'<rect class="{kind}" x="{EDGE}" y="{top + 6:.0f}" width="{length:.1f}" height="{BAR}" rx="3"/>')
        top += LINE + GAP
    return parts, top + GAP


def label(result: Result, row: Row) -> str:
    """Return what stands at the end of a row's line: its figure, and how many times ours it is."""
    value = row.median(result.first)
    if value is None:
        return "not measured"
    ratio = result.ratio(row)
    return figure(value, result.unit) + (f" · {times(ratio)}" if ratio is not None and ratio != 1 else "")


def words(x: float, y: float, text: str, kind: str) -> str:
    """Return a line of text."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


def shortened(text: str, room: float) -> str:
    """Return a text that fits."""
    letters = int(room / LETTER)
    return text if len(text) <= letters else text[: letters - 1].rstrip(", ") + "…"


def described(result: Result) -> str:
    """Return what a panel shows, in words."""
    return f"{result.title}, {result.first}: " + ", ".join(f"{row.name} {label(result, row)}" for row in result.rows)
