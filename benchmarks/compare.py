"""Our plugin beside others and beside hand-written fixtures, on this machine, in one run.

    python benchmarks/compare.py                                everything: ten minutes or so, when nothing else runs
    python benchmarks/compare.py --list                         what is compared, and what can run here
    python benchmarks/compare.py --part test --only pytest-sqla   a part, a contender (ours is always there)
    python benchmarks/compare.py --json out.json --resume       goes on where an earlier run has stopped
    python benchmarks/compare.py --part clone --cold            from git clone to the first green test
    python benchmarks/compare.py --json out.json --write docs/explanation/speed.md

Needs Python 3.11 and nothing else: each contender gets an environment of its own, by uv or by venv and pip. What cannot
be installed or cannot run here is named with its reason. As root everything runs as `nobody`, as PostgreSQL's own tools
refuse root. Docker is used where an engine answers, without testcontainers' reaper. All that is started is ended, also by
Ctrl-C. `--part clone` does what the README's first command does, which may install rabbitmq-server: INSTALL=no forbids it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from peers import clone, page
from peers.chart import chart
from peers.comparisons import COMPARISONS, CONTENDERS
from peers.machine import bindir, commit, facts, user_and_python
from peers.measure import Bench, Progress, compare, steps, where
from peers.model import OURS, Comparison, Result
from peers.processes import Processes
from peers.show import text
from peers.venvs import Venvs

PARTS = (*page.PARTS, "clone")


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = [*PARTS, *(key for key in COMPARISONS if key not in PARTS)]
    parser.add_argument("--part", action="append", choices=parts, metavar="PART",
        help=f"a part or one table of it, may be repeated: {', '.join(parts)}; default: all but clone")  # fmt: skip
    parser.add_argument("--only", action="append", choices=CONTENDERS, metavar="CONTENDER", default=[],
        help=f"with ours, may be repeated: {', '.join(CONTENDERS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender; slow tables have fewer, load has more")
    parser.add_argument("--list", action="store_true", help="say what is compared, and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all samples there; other parts in it stay")
    parser.add_argument("--resume", action="store_true", help="leave out what the file has of this commit")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put tables between the page's marks, and charts beside it")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw one SVG of all that was measured")
    parser.add_argument("--python", default="", help="the Python of all environments; default: this one")
    parser.add_argument("--bindir", default="", help="PostgreSQL's binaries; default: the newest of the system")
    parser.add_argument("--image", default="postgres:18", help="of containers with PostgreSQL")
    parser.add_argument("--broker-image", default="rabbitmq:4", help="of containers with RabbitMQ")
    parser.add_argument("--venvs", type=Path, metavar="DIR", help="make the environments there, keep them and use them again")
    parser.add_argument("--cold", action="store_true", help="for clone: pip without its cache")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for; return the exit code."""
    options = arguments()
    if options.rounds < 1:
        sys.exit("--rounds must be at least 1")
    wanted = [each for key, each in COMPARISONS.items() if not options.part or {key, page.part_of(key)} & {*options.part}]
    kept = page.read(options.json)
    if options.resume:
        wanted = [each for each in wanted if kept["results"].get(each.key, {}).get("commit") != commit()]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    if options.list or wanted:
        measure(options, wanted, kept)
    if "clone" in (options.part or ()) and not options.list:
        kept["clone"] = clone.clone(cold=options.cold)
        print(clone.show(kept["clone"]))
    if not options.list:
        publish(options, kept)
    return 0


def measure(options: argparse.Namespace, wanted: list[Comparison], kept: dict[str, Any]) -> None:
    """Make the comparisons, each kept as soon as it is there."""
    user, python = user_and_python(options.python)
    binaries = bindir(options.bindir)
    processes = Processes(user)
    venvs = Venvs(where(options.venvs and options.venvs.resolve(), processes), python, user)
    bench = Bench(venvs, processes, binaries, (options.image, options.broker_image))
    if options.list:
        listed(bench, wanted)
        return
    kept["machine"] = facts(python, user, bench.images, binaries)
    print("\n".join(f"{name}: {value}" for name, value in kept["machine"].items()))
    only = [OURS, *options.only] if options.only else []
    progress = Progress(steps(wanted, only, options.rounds))
    try:
        for comparison in wanted:
            result = compare(bench, comparison, only, options.rounds, progress)
            kept["results"][comparison.key] = page.as_kept(result)
            kept["results"] = {key: kept["results"][key] for key in COMPARISONS if key in kept["results"]}
            kept["versions"] |= venvs.versions
            page.write(options.json, kept)
            progress.clear()
            print(f"\n{text(result)}", flush=True)
    except BaseException:
        bench.broken = True
        progress.clear()
        print("ending what runs", file=sys.stderr)
        raise
    finally:
        bench.close()


def listed(bench: Bench, wanted: list[Comparison]) -> None:
    """Print what is compared, and why something cannot run here."""
    for comparison in wanted:
        print(f"{comparison.key}: {comparison.title}")
        for way in comparison.ways:
            why = next((why for need in way.needs if (why := bench.refusal(need))), "")
            print(f"    {way.name}{f': {why}' if why else ''}")
        for name, why in comparison.absent.items():
            print(f"    not in it: {name}: {why}")


def publish(options: argparse.Namespace, kept: dict[str, Any]) -> None:
    """Write what files were asked for."""
    page.write(options.json, kept)
    if options.chart:
        results = [Result.read(each) for each in kept["results"].values()]
        options.chart.write_text(chart(results, "What was compared"), encoding="utf-8")
    if options.write and kept["results"]:
        page.put(options.write, "compared", list(page.lines(kept, page.charts_for(kept, options.write))))
    if options.write and kept["clone"]:
        page.put(options.write, "clone", clone.lines(kept["clone"]))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
