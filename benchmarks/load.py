"""What the plugin's load costs inside of a pytest process: import, options, registration, fixtures; and part by part.

Times of a shared machine are worth little; where there is valgrind, the instructions of a run are counted, which differ by less
than a hundredth from call to call.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from measuring import OURS, PLAIN, environment, without_others
from projects import folder

WATCH = '''
"""Runs pytest and writes what is spent on our plugin, in milliseconds of processor time: each span without those inside of it."""
import gc, importlib, json, sys
from time import process_time_ns as now
import pytest

spent, inside = {}, [0]
gc.disable()  # it would strike one part or another, by what others have made before

def timed(span, function, *args, **kwargs):
    inside.append(0)
    began = now()
    try:
        return function(*args, **kwargs)
    finally:
        took = now() - began
        spent[span] = spent.get(span, 0) + took - inside.pop()
        inside[-1] += took

class Watch:
    """Stands round what pytest calls to load a plugin."""

    def pytest_plugin_registered(self, plugin, manager):
        if plugin is not self:
            return
        whole, bring = manager.register, manager.import_plugin

        def registered(plugin, name=None):
            if name == "funcmanage":  # who reads each plugin's fixtures
                read = plugin.pytest_plugin_registered
                def fixtures(plugin, plugin_name):
                    ours = plugin_name if plugin_name and plugin_name.startswith("pytest_testbed") else "others"
                    return timed(("fixtures", ours), read, plugin, plugin_name)
                plugin.pytest_plugin_registered = fixtures
            if not (name or "").startswith("pytest_testbed"):
                return whole(plugin, name)
            for hook in ("pytest_addoption", "pytest_configure"):
                if function := vars(plugin).get(hook):
                    setattr(plugin, hook, standing_in(hook, name, function))
            return timed(("registration", name), whole, plugin, name)

        def imported(name, **kwargs):
            if name == "pytest_testbed.plugin":
                timed(("import", name), importlib.import_module, name)
                sys.modules[name].import_module = lambda name: timed(("import", name), importlib.import_module, name)
            return bring(name, **kwargs)

        manager.register, manager.import_plugin = registered, imported

def standing_in(hook, name, function):
    if hook == "pytest_addoption":
        def stand_in(parser):
            return timed(("options", name), function, parser)
    else:
        def stand_in(config):
            return timed(("configuration", name), function, config)
    vars(stand_in).update(vars(function))
    return stand_in

code = pytest.main(sys.argv[2:], plugins=[Watch()])
with open(sys.argv[1], "w") as file:
    json.dump([(*span, took / 1e6) for span, took in spent.items()], file)
sys.exit(code)
'''
STEPS = ("import", "options", "registration", "configuration", "fixtures")


def load(rounds: int) -> None:
    """Measure the plugin's load in fresh processes, each step by itself."""
    project = folder(test_it="def test_it():\n    pass\n", watch=WATCH)
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    for turn in range(rounds * 8 + 2):
        for step, part, took in one_run(project):
            if turn >= 2 and part != "others":
                samples[step, part].append(took)
    print("\nplugin load, step by step: processor time in the process, one empty test")
    steps = {step: [each for each in samples if each[0] == step] for step in STEPS}
    for step, each in {**steps, "total": list(samples)}.items():
        sums = list(map(sum, zip(*(samples[span] for span in each), strict=True)))
        print(f"  {step:44} {statistics.median(sums):9.2f} ms   (min {min(sums):.2f}, max {max(sums):.2f}, n {len(sums)})")
    print("  part by part, the lowest of each step:")
    for part in dict.fromkeys(part for _, part in samples):
        lowest = {step: min(samples[step, part]) for step in STEPS if (step, part) in samples}
        whole = ", ".join(f"{step} {took:.2f}" for step, took in lowest.items())
        print(f"    {part.removeprefix('pytest_testbed.'):42} {sum(lowest.values()):9.2f} ms   ({whole})")
    instructions(project)


def instructions(project: Path) -> None:
    """Count the instructions of the empty test's run, with the plugin and without, where valgrind is there."""
    if shutil.which("valgrind") is None:
        print("  valgrind is not there: instructions are not counted")
        return
    count = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    counted = {}
    for plugin in ("", OURS):
        command = [*count, sys.executable, "-m", "pytest", *PLAIN, *without_others(plugin), "test_it.py"]
        done = subprocess.run(
            command, cwd=project, env=environment(PYTHONHASHSEED="0"), capture_output=True, text=True, check=True
        )
        (counted[plugin],) = (
            float(line.split()[-1].replace(",", "")) / 1e6 for line in done.stderr.splitlines() if " refs:" in line
        )
    extra = counted[OURS] - counted[""]
    print(
        f"  instructions of the whole process: {counted['']:.1f} million without the plugin, {extra:+.1f} million with it "
        f"({extra / counted['']:+.1%})"
    )


def one_run(project: Path) -> list[tuple[str, str, float]]:
    """Run the empty test once; return (step, part, milliseconds) of each."""
    out = project / "out"
    command = [sys.executable, "watch.py", str(out), *PLAIN, "-p", "pytest_testbed.plugin", *without_others(""), "test_it.py"]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return [(step, part, took) for step, part, took in json.loads(out.read_text())]
