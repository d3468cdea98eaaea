"""What a statement of PostgreSQL does to a transaction, as far as its text and its command tag tell."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["find", "local_settings", "may_write", "quoted", "shortened", "tag_of"]

CHANGES = frozenset(["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"])
READS = frozenset(["SHOW", "CLOSE", "FETCH", "MOVE", "NOTIFY"])
"""First words of command tags that change no row and leave nothing behind."""
DEFINES = frozenset(["CREATE", "ALTER", "DROP", "DO", "CALL", "IMPORT"])
"""Those that may change the schema."""
HOLDS = frozenset(["SET", "RESET", "DECLARE", "LISTEN", "UNLISTEN", "PREPARE", "LOCK", "DISCARD", "DEALLOCATE"])
"""Those that change no row and leave something behind that others do not see."""

CALL_OR_CHANGE = (
    r"\b(?:insert|(?<!for )(?<!key )update|delete|merge|call|copy|truncate|create|alter|drop|into)\b"
    r"|\b(?!(?:select|from|where|and|or|not|in|exists|any|all|some|as|on|by|over|filter|values|when|then|else|case|is|with"
    r"|union|except|intersect|join|lateral|distinct|having|using|array|row|cast|extract|interval|limit|offset|between|like"
    r"|varchar|char|numeric|decimal|timestamp|time|bit|coalesce|nullif|greatest|least|count|sum|min|max|avg|bool_and"
    r"|bool_or|string_agg|array_agg|row_number|rank|lower|upper|length|trim|substring|replace|concat|abs|round|now"
    r"|date_trunc|to_char|unnest|generate_series|version|current_setting|current_schema|format_type|to_json|to_jsonb"
    r"|json_agg|jsonb_agg|json_build_object|jsonb_build_object|json_object_agg|pg_[a-z_]+(?<!lock)|has_[a-z_]+)\b)"
    r"[a-z_][\w$]*\"?\s*\("
)
"""What makes a SELECT one that may write: another verb in it, or a function that is not known to be harmless."""

ENDS = r"\b(?:commit|end|abort|rollback(?!\s+(?:work\s+|transaction\s+)?to\b))\b"
SAVEPOINT = (
    r"^\s*(savepoint|release(?:\s+savepoint)?|rollback(?:\s+work|\s+transaction)?\s+to(?:\s+savepoint)?)"
    r"\s+(\"[^\"]+\"|\w+)\s*;?\s*$"
)
ON_COMMIT = (
    r"\btemp(?:orary)?\s+table\s+(?:if\s+not\s+exists\s+)?(?:pg_temp\.)?(\"[^\"]+\"|\w+).*\bon\s+commit\s+(drop|delete\s+rows)"
)
SETS_LOCALLY = re.compile(r"\bset\s+local\b|\bset_config\b", re.IGNORECASE)
"""Found in every statement that may set something for one transaction."""
_SET_LOCAL = r"(?:^|;)\s*set\s+local\s+(time\s+zone|session\s+authorization|xml\s+option|[\w.]+)"
_ARGUMENT = r"\s*('(?:[^']|'')*'|%\(\w+\)s|\$\d+|[^,()']+)(?:::[\w\s]+)?\s*"
_SET_CONFIG = rf"\bset_config\({_ARGUMENT},{_ARGUMENT},{_ARGUMENT}\)"
_LONG_NAMES = {
    "time zone": "timezone",
    "session authorization": "session_authorization",
    "xml option": "xmloption",
    "names": "client_encoding",
    "schema": "search_path",
}
_NO_SETTINGS = ("seed", "transaction", "constraints")
PREPARES = re.compile(r"\s*prepare\s+transaction\b", re.IGNORECASE)
"""Begins the first half of a two-phase commit."""
SETTING = r"^\s*set\s+(?:session\s+)?(?!local\b)([\w.]+)"

VERBS = ("insert", "update", "delete", "merge", "call", "copy", "truncate", "create", "alter", "drop", "into")


def find(pattern: str, statement: str) -> re.Match[str] | None:
    """Search a statement; patterns are compiled when first needed, most tests need none."""
    return re.search(pattern, statement, re.IGNORECASE | re.DOTALL)


def local_settings(statement: str, parameters: object) -> list[str]:
    """Return the names of the settings that a statement makes for its transaction alone (SET LOCAL, set_config)."""
    flags = re.IGNORECASE | re.DOTALL
    said = [" ".join(name.lower().split()) for name in re.findall(_SET_LOCAL, statement, flags)]
    for name, _, local in re.findall(_SET_CONFIG, statement, flags):
        if _value(local, parameters).lower() in ("true", "t", "on", "1"):
            said.append(_value(name, parameters).lower())
    return [_LONG_NAMES.get(name, name) for name in said if name not in _NO_SETTINGS]


def _value(argument: str, parameters: object) -> str:
    """Return an argument's value, where it is a literal or a parameter."""
    if argument.startswith("$") and isinstance(parameters, tuple | list):
        return str(parameters[int(argument[1:]) - 1])
    if argument.startswith("%("):
        return str(parameters.get(argument[2:-2])) if isinstance(parameters, dict) else ""
    return argument.strip().strip("'")


def quoted(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=1000)
def may_write(statement: str) -> bool:
    """Tell whether a statement that ended as a SELECT may have changed something all the same."""
    if "(" not in statement and not any(verb in statement.lower() for verb in VERBS):
        return False  # most are as plain as that
    return find(CALL_OR_CHANGE, statement) is not None


def shortened(statement: str) -> str:
    """Return a statement on one line, cut to what fits."""
    text = " ".join(statement.split())
    return text if len(text) <= 80 else text[:77] + "..."


_BEFORE_VERB = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)
_SAME_TAG = {"VALUES": "SELECT", "TABLE": "SELECT", "WITH": "SELECT", "END": "COMMIT", "ABORT": "ROLLBACK"}


@lru_cache(maxsize=1000)
def tag_of(statement: str) -> str:
    """Return what the command tag of a statement will begin with, for drivers that do not tell it.

    What begins with WITH counts as a SELECT, of which `may_write` tells whether it changes something.
    """
    start = _BEFORE_VERB.match(statement)
    words = statement[start.end() if start else 0 :].split(None, 2)[:2]
    verb = (re.match(r"\w*", words[0]) or [""])[0].upper() if words else ""
    if verb == "SET" and len(words) > 1 and words[1].upper() == "CONSTRAINTS":
        return "SET CONSTRAINTS"
    return _SAME_TAG.get(verb, verb)
