"""Under which names modules are imported, and which folders must be on the import path for it."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping

from .source import Source

__all__ = ["name_modules"]


def name_modules(sources: Mapping[str, Source]) -> dict[str, str]:
    """Give each source its module's name, and return the folder of the import path that it is found in.

    The project's own imports say it best: `from shop.db import …` in any file, and a file `backend/shop/db.py`, mean that
    `backend` is on the path. Where nobody imports a file, its package says it.
    """
    votes = _votes(sources)
    weight: Counter[str] = Counter()
    for counted in votes.values():
        for (folder, _), number in counted.items():
            weight[folder] += number
    roots = {}
    for path, source in sources.items():
        if path in votes:
            folder, module = max(votes[path], key=lambda each: (weight[each[0]], -len(each[0])))
        else:
            folder = _root(path, sources, weight)
            module = _dotted(path, folder)
        source.module = module
        roots[path] = folder
    return roots


def _dotted(path: str, folder: str) -> str:
    below = path.removeprefix(folder + "/" if folder else "").removesuffix(".py")
    return below.removesuffix("/__init__").replace("/", ".")


def _votes(sources: Mapping[str, Source]) -> dict[str, Counter[tuple[str, str]]]:
    """Return for each file the folders and names under which others import it, and how often."""
    holders: dict[str, set[str]] = defaultdict(set)
    for path in sources:
        *folders, own = path.split("/")
        for depth, name in enumerate([*folders, own.removesuffix(".py")]):
            holders[name].add("/".join(folders[:depth]))
    votes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for source in sources.values():
        for module in source.absolute_modules:
            first = module.partition(".")[0]
            if first in sys.stdlib_module_names:
                continue
            for folder in holders.get(first, ()):
                if folder.split("/")[-1:] == [first]:
                    continue
                stem = (folder + "/" if folder else "") + module.replace(".", "/")
                for path in (f"{stem}.py", f"{stem}/__init__.py"):
                    # a module beside itself, as celery.py that imports celery, is the installed one
                    if path in sources and path != source.path:
                        votes[path][folder, module] += 1
    return votes


def _root(path: str, sources: Mapping[str, Source], weight: Mapping[str, int]) -> str:
    """Return the folder above the file's package; of packages without `__init__.py`, one that others are found in."""
    folders = path.split("/")[:-1]
    while folders and "/".join([*folders, "__init__.py"]) in sources:
        folders.pop()
    above = ["/".join(folders[:depth]) for depth in range(len(folders), -1, -1)]
    layout = "" if "src/__init__.py" in sources else "src"
    return next((folder for folder in above if weight.get(folder) or (folder and folder == layout)), above[0])
