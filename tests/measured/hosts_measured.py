"""A plugin of coverage.py: processes that start without `site`, or without coverage's variables, are measured too.

The host process is one, what it starts to make a database before the tests is another, and so is an application's process.

Its folder is put on Python's path by scripts/coverage; it is a module of its own, as a package called `tests` would hide
those of projects that are run inside tests.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

CONFIG = "COVERAGE_PROCESS_CONFIG"
"""What makes coverage begin in a process, once `site` has read the file that looks for it."""
OURS = ("pytest_testbed.services.serve", "pytest_testbed.postgres.beforehand")
"""What the command lines of such processes have in them."""
RUNNER = "/pytest_testbed/http/runner.py"
"""How the script ends that runs an application; what is run as a script is of no package, and only ours are measured."""


def coverage_init(registry: object, options: object) -> None:
    """Let what this process starts of ours be measured."""
    if getattr(subprocess.Popen, "measured", False):
        return
    plain = subprocess.Popen.__init__

    def measured(self: Any, args: Any, *more: Any, **options: Any) -> None:
        config = os.environ.get(CONFIG)
        if config and isinstance(args, list) and str(args[-1]).endswith(RUNNER):
            args = [*args[:-1], "-m", "pytest_testbed.http.runner"]
        if config and isinstance(args, list) and any(name in str(word) for word in args for name in OURS):
            args = [word for word in args if word != "-S"]
            if options.get("env") is not None:
                options["env"] = {**options["env"], CONFIG: config}
        plain(self, args, *more, **options)

    subprocess.Popen.__init__ = measured  # type: ignore[method-assign]
    subprocess.Popen.measured = True  # type: ignore[attr-defined]
