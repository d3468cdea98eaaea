"""A virtual environment for each contender, with what its users install and nothing else; which versions that gave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from .machine import ROOT, User
from .model import Unable

COMMON = ("pytest", "pytest-xdist", "sqlalchemy", "psycopg[binary]", "requests")
HAND = "by hand"
INSTALLED = {
    "pytest-testbed": (f"{ROOT}[psycopg]",),
    "pytest-postgresql": ("pytest-postgresql",),
    "pytest-mock-resources": ("pytest-mock-resources[docker]",),
    "pytest-sqla": ("pytest-sqla",),
    "pytest-testcontainers": ("pytest-testcontainers", "pika"),
    "pytest-rabbitmq": ("pytest-rabbitmq",),
    "pytest-httpserver": ("pytest-httpserver",),
    HAND: ("testcontainers", "pika", "responses"),
}
"""Environment → what is installed into it, besides what all have in common."""

FOUND = """
import json
from importlib.metadata import distributions
print(json.dumps({
    "versions": {each.metadata["Name"]: each.version for each in distributions()},
    "plugins": [[point.name, each.metadata["Name"]] for each in distributions()
        for point in each.entry_points if point.group == "pytest11"],
}))
"""


class Venvs:
    """Environments in one folder; each is made when it is first asked for, and used again where it is there already."""

    def __init__(self, folder: Path, python: str, user: User | None) -> None:
        self.folder, self.python, self.user = folder, python, user
        self.versions: dict[str, dict[str, str]] = {}
        self.plugins: dict[str, list[tuple[str, str]]] = {}
        self._refused: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """Return the environment's folder."""
        return self.folder / name.replace(" ", "-")

    def interpreter(self, name: str) -> str:
        """Return the Python of an environment, which is made if need be.

        Raises:
            Unable: it cannot be made; what its installation said.
        """
        if name in self._refused:
            raise Unable(self._refused[name])
        if name not in self.versions:
            try:
                self._make(name)
            except subprocess.CalledProcessError as error:
                lines = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
                said = next((line for line in lines if "rror" in line), lines[-1] if lines else str(error))
                self._refused[name] = f"cannot be installed: {said.strip()[:160]}"
                raise Unable(self._refused[name]) from error
        return str(self.path(name) / "bin" / "python")

    def _make(self, name: str) -> None:
        path = self.path(name)
        python = path / "bin" / "python"
        wanted = json.dumps([self.python, *COMMON, *INSTALLED[name]])
        stamp = path / "installed.json"
        ready = stamp.exists() and stamp.read_text() == wanted
        if not ready:
            shutil.rmtree(path, ignore_errors=True)
            self._install(path, [*COMMON, *INSTALLED[name]])
        elif name == "pytest-testbed":  # its version may be the same and its files not
            _run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(ROOT))
        if not ready or name == "pytest-testbed":
            # as the users of an environment have it: with all byte code, and in a folder of their own, as pytest
            # keeps there what it makes of plugins; if it could not, each start would make it again
            subprocess.run([str(python), "-m", "compileall", "-q", str(path / "lib")], capture_output=True, check=False)
            if self.user:
                for each in (path, *path.rglob("*")):
                    os.chown(each, self.user.number, self.user.group, follow_symlinks=False)
            stamp.write_text(wanted)
        found = json.loads(_run(str(python), "-c", FOUND))
        self.versions[name], self.plugins[name] = found["versions"], [tuple(each) for each in found["plugins"]]

    def _install(self, path: Path, wanted: list[str]) -> None:
        """Make an environment: with uv where it is there and can, else with venv and pip."""
        if uv := shutil.which("uv"):
            try:
                _run(uv, "venv", "--quiet", "--seed", "--python", self.python, str(path))
                _run(uv, "pip", "install", "--quiet", "--python", str(path / "bin" / "python"), *wanted)
            except subprocess.CalledProcessError:  # it does not read pip's configuration, which may name another index
                shutil.rmtree(path, ignore_errors=True)
            else:
                return
        _run(self.python, "-m", "venv", str(path))
        _run(str(path / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)

    def blocking(self, name: str, *, all_of_them: bool = False, but: tuple[str, ...] = ()) -> list[str]:
        """Return pytest's arguments that block plugins of an environment: xdist's, or all but some."""
        blocked = [
            plugin
            for plugin, distribution in self.plugins[name]
            if plugin not in but and (all_of_them or distribution.lower() == "pytest-xdist")
        ]
        return [part for plugin in sorted(blocked) for part in ("-p", f"no:{plugin}")]


def _run(*command: str) -> str:
    """Run a command that must succeed; return what it wrote."""
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
