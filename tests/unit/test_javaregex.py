"""Java's regular expressions in Python."""

from __future__ import annotations

import pytest

from pytest_testbed.http.javaregex import compiled

TRANSLATED = [
    ("a.*b", ["a\nb", "ab"], ["a", "ab\n"]),
    (r"\d+", ["12"], ["١٢"]),
    (r"\w+", ["ab_1"], ["é"]),
    ("(?i)abc", ["ABC"], ["abd"]),
    ("a(?i)b|c", ["aB", "C", "c"], ["AB"]),
    ("(a(?i)b)c", ["aBc"], ["aBC"]),
    ("(?i:a)b", ["Ab"], ["AB"]),
    ("(?:a|b)c", ["bc"], ["c"]),
    (r"\Qa.b\E+", ["a.bb"], ["axb"]),
    (r"\Qa.b", ["a.b"], ["axb"]),
    (r"\\Qa", [r"\Qa"], ["a"]),
    (r"(?<n>a|b)\k<n>", ["aa", "bb"], ["ab"]),
    ("(?<=a)b|ab(?<!x)", ["ab"], ["b"]),
    (r"[\p{Alpha}\d_]+", ["a1_"], ["é"]),
    (r"\p{Punct}", ["!", "["], ["a"]),
    (r"\P{Digit}", ["a"], ["1"]),
    (r"\p{L}+", ["aé"], ["1", "_"]),
    (r"\pL", ["é"], ["1"]),
    (r"\h*\z", ["\t "], ["\n"]),
    (r"[\h]", [" "], ["\n"]),
    (r"\R", ["\r\n", "\n"], ["a"]),
    ("[]a]+", ["]a"], ["b"]),
    ("[^]a]+", ["b"], ["]"]),
    ("[(?i)]+", ["(?i)"], ["a"]),
    (r"[\Qa]^\E\x62]+", ["a]^b"], ["Q", "x"]),
    ("[a|b&~]+", ["a|&~"], ["c"]),
    (r"[\[\]]", ["[", "]"], ["a"]),
    (r"\x{1F600}", ["😀"], []),
    ("a++b", ["aab"], ["b"]),
]
REFUSED = [
    "[a-z&&[^b]]",
    "[a[b]]",
    "(?P<a>x)",
    r"\p{Lu}",
    r"[\P{Alpha}]",
    r"[\H]",
    "(?x)a",
    "(?)a",
    "(",
    "[a",
    r"\X",
    "*",
    "a)",
    "\\",
]


@pytest.mark.parametrize(("text", "fits", "others"), TRANSLATED, ids=[row[0] for row in TRANSLATED])
def test_it_matches_as_in_java(text: str, fits: list[str], others: list[str]) -> None:
    regex = compiled(text)

    assert [each for each in fits if not regex.fullmatch(each)] == []
    assert [each for each in others if regex.fullmatch(each)] == []


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_said_in_python_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compiled(text)
