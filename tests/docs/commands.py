"""Command lines of the documentation, read as the programs that they call would read them."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shlex
import tomllib
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution

import pytest

from pytest_testbed.commands.line import parser as commands_parser
from tests.docs.blocks import ROOT
from tests.docs.options import Fault, check_option, check_variable

Parse = Callable[[list[str]], tuple[object, list[str]]]
FOREIGN = {"docker", "git", "rabbitmq-plugins", "rabbitmqctl", "sudo", "brew", "apt-get"}
"""Programs of others: no more is said of them than that they are called so."""
SHELL = {"cd", "mkdir", ".", "venv"}
VARIABLE = re.compile(r"(\w+)=(.*)", re.DOTALL)


def lines(text: str) -> Iterator[str]:
    """Yield the commands of a block; a backslash at the end joins two lines."""
    yield from filter(str.strip, text.replace("\\\n", " ").splitlines())


def check_command(line: str, parse: Parse) -> None:
    """Check one command line, with all that is called by it.

    Raises:
        Fault: nobody would understand it.
    """
    words = shlex.split(line, comments=True)
    for part in [words] if any(map(is_synopsis, words)) else _divided(words):
        while part and (part[0] == "export" or VARIABLE.fullmatch(part[0])):
            if match := VARIABLE.fullmatch(part[0]):
                check_variable(match[1], match[2])
            part = part[1:]
        if part:
            _check(part, parse)


def is_synopsis(word: str) -> bool:
    """Return whether a word stands for others: in brackets, what may be left out; in capitals, what is to be put there."""
    return word.startswith("[") or word in ("COMMAND", "RUN", "DIRECTORY")


def _divided(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word in ("&&", ";", "|"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _check(words: list[str], parse: Parse) -> None:
    program, *arguments = words
    if program.endswith(("python", "python3")) and arguments[:1] == ["-m"]:
        program, *arguments = arguments[1:]
    program = program.removeprefix(".venv/bin/")
    if program == "pytest":
        check_pytest(arguments, parse)
    elif program == "pytest_testbed":
        check_own(arguments)
    elif program == "pip":
        check_pip(arguments)
    elif program == "tox":
        check_tox(arguments)
    elif program == "python":
        check_python(arguments)
    elif program.startswith(("scripts/", "./scripts/", ".ci/")):
        check_there(program, program=True)
    elif program in FOREIGN:
        if "sh" in arguments and "-c" in arguments:  # docker run … sh -c '…'
            check_command(arguments[arguments.index("-c") + 1], parse)
    elif program not in SHELL:
        raise Fault(f"nothing is known of {program}: say in {__name__} how it is checked")


def check_pytest(arguments: list[str], parse: Parse) -> None:
    """Check a call of pytest: it has all options, and those of ours take their values."""
    try:
        given, unknown = parse(arguments)
    except (pytest.UsageError, ArgumentError, SystemExit) as error:
        raise Fault(f"pytest {shlex.join(arguments)}: {error}") from None
    if unknown:
        raise Fault(f"pytest has no option {' '.join(unknown)}")
    for each in getattr(given, "override_ini", None) or ():
        key, _, value = each.partition("=")
        check_option(key, value)
    for word in arguments:
        flag, equals, value = word.partition("=")
        if flag.startswith("--testbed-") and equals:
            check_option(flag[2:].replace("-", "_"), value)


def check_own(arguments: list[str]) -> None:
    """Check a call of `python -m pytest_testbed`; a synopsis has brackets, and its options must be there."""
    parser = commands_parser()
    if not any(map(is_synopsis, arguments)):
        try:
            parser.parse_args(arguments)
        except SystemExit:
            raise Fault(f"python -m pytest_testbed {shlex.join(arguments)} is refused") from None
        return
    if arguments[0] == "COMMAND":
        return
    chosen = next(action for action in parser._actions if action.dest == "command").choices[arguments[0]]
    known = chosen._option_string_actions
    if unknown := [word for word in re.findall(r"--[\w-]+", " ".join(arguments)) if word not in known]:
        raise Fault(f"{arguments[0]} has no option {' '.join(unknown)}")


def check_pip(arguments: list[str]) -> None:
    """Check what is installed: our extras exist, other packages are those that the tests run with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = _packages(iter(arguments), project["dependency-groups"])
    for match in filter(None, (re.fullmatch(r"(/path/to/clone|[\w.-]+)(?:\[([\w,.-]+)\])?(?:[<>=].*)?", name) for name in names)):
        if match[1] in (".", "/path/to/clone", "pytest-testbed"):
            if unknown := set((match[2] or "").split(",")) - {*project["project"]["optional-dependencies"], ""}:
                raise Fault(f"there is no extra {', '.join(sorted(unknown))}")
            continue
        try:
            distribution(match[1])
        except PackageNotFoundError:
            raise Fault(f"pip install {match[1]}: the tests do not run with it") from None


def _packages(words: Iterator[str], groups: Iterable[str]) -> Iterator[str]:
    assert next(words) == "install"
    for word in words:
        if word == "-r":
            next(words)
        elif word == "--group":
            group = next(words)
            if group not in groups:
                raise Fault(f"there is no dependency group {group}")
        elif not word.startswith("-"):
            yield word


def check_tox(arguments: list[str]) -> None:
    """Check that tox has the environments."""
    ini = configparser.ConfigParser()
    ini.read(ROOT / "tox.ini", encoding="utf-8")
    there = [name.strip() for name in ini["tox"]["env_list"].split(",")]
    named = arguments[arguments.index("-e") + 1].split(",")
    if unknown := [name for name in named if name not in there]:
        raise Fault(f"tox has no environment {', '.join(unknown)}")


def check_python(arguments: list[str]) -> None:
    """Check that a script is there, or that what stands on the command line is Python."""
    if arguments[0] != "-c":
        check_there(arguments[0])
        return
    try:
        ast.parse(arguments[1])
    except SyntaxError as error:
        raise Fault(f"python -c {arguments[1]!r}: {error}") from None


def check_there(path: str, *, program: bool = False) -> None:
    """Check that a file of the repository is there, and can be called."""
    if not (ROOT / path).is_file() or (program and not os.access(ROOT / path, os.X_OK)):
        raise Fault(f"{path} is not there")
