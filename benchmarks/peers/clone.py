"""From `git clone` to the first green test on a real server, as somebody does it who follows the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import Any

from measuring import environment, temporary

from .machine import ROOT, commit, processor
from .machine import said as said_by

SUMMARY = re.compile(r"=+ (.*\b(?:passed|failed|error|skipped)\b.*?) =+")


def clone(*, cold: bool) -> dict[str, Any]:
    """Clone the repository that this file is in, and run `./scripts/try-example` there; return the moments.

    Args:
        cold: pip has no cache, as on a machine that has installed none of it before.

    Raises:
        SystemExit: the clone or the script failed; with the end of what it wrote.
    """
    folder = temporary() / "pytest-testbed"
    variables = {"PIP_NO_CACHE_DIR": "1"} if cold else {}
    began = time.monotonic()
    subprocess.run(["git", "-c", "advice.detachedHead=false", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    cloned = time.monotonic() - began
    process = subprocess.Popen(
        ["./scripts/try-example", "-v"],
        cwd=folder, env=environment(**variables, VENV=str(folder / ".venv")), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    first, said = 0.0, []
    try:
        for line in process.stdout:
            said.append(line.rstrip())
            if not first and re.search(r"\bPASSED\b", line):
                first = time.monotonic() - began
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, 2)
        process.wait()
        raise
    if code or not first:
        sys.exit("\n".join([*said[-30:], f"./scripts/try-example has ended with code {code}"]))
    return {
        "cloned": cloned, "first": first, "end": time.monotonic() - began, "summary": summary(said), "cold": cold,
        "commit": commit(), "made": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} × {processor()}, {said_by(str(folder / '.venv' / 'bin' / 'python'), '--version')}",
    }  # fmt: skip


def summary(said: list[str]) -> str:
    """Return what pytest's last line says."""
    found = [match[1] for line in said if (match := SUMMARY.search(line))]
    return found[-1] if found else ""


def lines(found: dict[str, Any]) -> list[str]:
    """Return what the page says of it."""
    cache = "with an empty cache of pip" if found["cold"] else "with pip's cache filled"
    return [
        f"Made on {found['made']} by `benchmarks/compare.py --part clone` at commit `{found['commit']}`, {cache}, on "
        f"{found['machine']}; the repository was on the same disk.",
        "",
        "| moment | seconds after `git clone` was begun |",
        "|---|---:|",
        f"| the clone is there | {found['cloned']:.1f} |",
        f"| the first test is green | {found['first']:.1f} |",
        f"| `./scripts/try-example` has ended: {found['summary']} | {found['end']:.1f} |",
    ]


def show(found: dict[str, Any]) -> str:
    """Return it for a terminal."""
    return (
        f"from git clone to the first green test: {found['first']:.1f} s; the clone took {found['cloned']:.1f} s, all was over "
        f"after {found['end']:.1f} s ({found['summary']})"
    )
