"""Regular expressions in Java's syntax, as WireMock's mapping files have them, turned into Python's.

Source: the documentation of `java.util.regex.Pattern`, whose `matches` WireMock asks, with `.` for line ends as well.
"""

from __future__ import annotations

import re

__all__ = ["compiled"]

HORIZONTAL = r" \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000"
VERTICAL = r"\n\x0b\f\r\x85\u2028\u2029"
SETS = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": r"\x00-\x7f",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": r" \t",
    "Cntrl": r"\x00-\x1f\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": r" \t\n\x0b\f\r",
}
"""The classes of ASCII letters, by the names that follow \\p."""
BEYOND = {
    **dict.fromkeys(("L", "IsL", "IsAlphabetic"), (r"(?u:[^\W\d_])", r"(?u:[\W\d_])")),
    **dict.fromkeys(("Nd", "IsNd", "IsDigit"), (r"(?u:\d)", r"(?u:\D)")),
}
"""Classes beyond ASCII, and their opposites; not inside of brackets."""
TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|\Z)"
    r"|\\(?P<not>[pP])(?:\{(?P<set>\w+)\}|(?P<letter>[A-Z]))"
    r"|\\k<(?P<back>[a-zA-Z][a-zA-Z0-9]*)>"
    r"|\\x\{(?P<code>[0-9a-fA-F]+)\}"
    r"|\\(?P<escaped>.)"
    r"|\(\?<(?P<name>[a-zA-Z][a-zA-Z0-9]*)>"
    r"|\(\?(?P<flags>[a-zA-Z]*(?:-[a-zA-Z]+)?)(?P<ends>[:)])"
    r"|(?P<char>.)",
    re.DOTALL,
)
ESCAPES = {
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "R": rf"(?:\r\n|[{VERTICAL}])",
    "h": f"[{HORIZONTAL}]",
    "H": f"[^{HORIZONTAL}]",
    "v": f"[{VERTICAL}]",
    "V": f"[^{VERTICAL}]",
    "e": r"\x1b",
}
IN_BRACKETS = {"h": HORIZONTAL, "v": VERTICAL, "e": r"\x1b"}
FLAGS = re.compile(r"[imsu]*(?:-[ims]+)?")


def compiled(text: str) -> re.Pattern[str]:
    """Return a regular expression that was written for Java; `fullmatch` is Java's `matches`.

    Raises:
        ValueError: it is none, or has what cannot be said in Python's syntax.
    """
    try:
        return re.compile(Translation(text).done(), re.DOTALL | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


class Translation:
    """One expression on its way.

    Args:
        text: in Java's syntax.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._made: list[str] = []
        self._open: list[list[str]] = [[]]
        """Of each group that is open: the flags that were set in it, each as the group that it has become."""
        self._is_in_brackets = False
        self._begun_at = 0

    def done(self) -> str:
        """Return it in Python's syntax.

        Raises:
            ValueError: it has what cannot be said there.
        """
        at = 0
        while at < len(self._text):
            found = TOKEN.match(self._text, at)
            assert found is not None  # the last way takes any letter
            if self._is_in_brackets and found["char"] is None and self._text[at] != "\\":
                self._made.append(self._bracketed("(", at))
                at += 1
                continue
            self._made.append(self._bracketed_token(found, at) if self._is_in_brackets else self._token(found, at))
            at = found.end()
        return "".join(self._made) + ")" * len(self._open[0])

    def _token(self, found: re.Match[str], at: int) -> str:
        if (same := self._same(found)) is not None:
            return same
        if found["not"]:
            return self._class(found, False)
        if found["back"]:
            return f"(?P={found['back']})"
        if found["escaped"]:
            return ESCAPES.get(found["escaped"], found[0])
        if found["name"]:
            self._open.append([])
            return f"(?P<{found['name']}>"
        if found["ends"]:
            return self._flags(found["flags"], found["ends"])
        return self._char(found["char"], at)

    def _char(self, char: str, at: int) -> str:
        if char == "[":
            self._is_in_brackets, self._begun_at = True, at + (2 if self._text[at + 1 : at + 2] == "^" else 1)
        elif char == "(":
            if self._text.startswith("(?P", at):
                raise ValueError("(?P is Python's syntax, and these files have Java's: (?<name>...)")
            self._open.append([])
        elif char == ")" and len(self._open) > 1:
            return ")" * (1 + len(self._open.pop()))
        elif char == "|":
            # flags that are set in one branch hold in the next ones, too
            flags = self._open[-1]
            return ")" * len(flags) + "|" + "".join(flags)
        return char

    def _flags(self, flags: str, ends: str) -> str:
        if not FLAGS.fullmatch(flags):
            raise ValueError(f"the flags (?{flags}{ends} have no like in Python")
        if ends == ":":
            self._open.append([])
            return f"(?{flags}:"
        if not flags:
            raise ValueError("(?) sets no flag")
        # to Python a flag belongs to a whole expression or to a group: it becomes one that ends with the group it is in
        self._open[-1].append(f"(?{flags}:")
        return f"(?{flags}:"

    # --- in brackets

    def _bracketed_token(self, found: re.Match[str], at: int) -> str:
        if (same := self._same(found)) is not None:
            return same
        if found["not"]:
            return self._class(found, True)
        if found["escaped"]:
            if found["escaped"] in "HVR":
                raise ValueError(f"\\{found['escaped']} in brackets has no like in Python")
            return IN_BRACKETS.get(found["escaped"], found[0])
        return self._bracketed(found["char"] or "\\", at)

    def _bracketed(self, char: str, at: int) -> str:
        if char == "[" or self._text.startswith("&&", at):
            raise ValueError("brackets in brackets, and && in them, have no like in Python")
        if char == "]" and at > self._begun_at:
            self._is_in_brackets = False
        elif char in "&~|" or self._text.startswith("--", at):
            return f"\\{char}"  # Python has plans for them
        return char

    # --- anywhere

    @staticmethod
    def _same(found: re.Match[str]) -> str | None:
        if found["quoted"] is not None:
            return re.escape(found["quoted"])
        return re.escape(chr(int(found["code"], 16))) if found["code"] else None

    @staticmethod
    def _class(found: re.Match[str], is_in_brackets: bool) -> str:
        name, is_opposite = found["set"] or found["letter"], found["not"] == "P"
        if name in SETS and not (is_in_brackets and is_opposite):
            return SETS[name] if is_in_brackets else f"[{'^' * is_opposite}{SETS[name]}]"
        if name in BEYOND and not is_in_brackets:
            return BEYOND[name][is_opposite]
        raise ValueError(f"{found[0]}{' in brackets' if is_in_brackets else ''} has no like in Python")
