"""All that is seen in a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .applications import Application, applications
from .composed import Image, images
from .configured import Configured, configured
from .dependencies import dependencies
from .djangosettings import Setting, databases, settings_module
from .migrations import Alembic, alembics
from .models import Base, Target, bases, targets
from .names import name_modules
from .source import Source, parsed
from .testcode import Factory, Fixture, Hint, factories, fixtures, hints
from .tree import Place, Tree
from .variables import Given, Read, given_values, read_variables

__all__ = ["Findings", "look"]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was seen, each thing with its place."""

    tree: Tree
    config: Configured
    sources: dict[str, Source]
    modules: dict[str, Source]
    packages: frozenset[str]
    roots: dict[str, str]
    dependencies: dict[str, Place]
    bases: list[Base]
    targets: list[Target]
    reads: list[Read]
    given: list[Given]
    images: list[Image]
    applications: list[Application]
    alembics: list[Alembic]
    django: tuple[str, Place] | None
    django_databases: list[Setting]
    factories: list[Factory]
    fixtures: list[Fixture]
    hints: list[Hint]

    def has(self, *names: str) -> bool:
        """Tell whether the project depends on one of these distributions, or imports one of these packages."""
        return any(name in self.dependencies for name in names) or any(self.imports(name.replace("-", "_")) for name in names)

    def imports(self, package: str) -> bool:
        """Tell whether a file imports a package."""
        return package in self.packages


def look(root: Path) -> Findings:
    """Look at a project. Whatever cannot be read is noted in the tree, and passed over."""
    tree = Tree(root)
    sources = parsed(tree)
    roots = name_modules(sources)
    modules: dict[str, Source] = {}
    for source in sorted(sources.values(), key=lambda source: (source.is_test, source.path.count("/"))):
        modules.setdefault(source.module, source)
    return Findings(
        tree=tree,
        config=configured(tree),
        sources=sources,
        modules=modules,
        packages=frozenset(name.partition(".")[0] for source in sources.values() for name in source.absolute_modules),
        roots=roots,
        dependencies=dependencies(tree, sources),
        bases=bases(sources, modules),
        targets=targets(sources, modules),
        reads=read_variables(sources),
        given=given_values(tree),
        images=images(tree),
        applications=applications(sources),
        alembics=alembics(tree, sources),
        django=settings_module(sources),
        django_databases=list(databases(sources)),
        factories=factories(sources),
        fixtures=fixtures(sources),
        hints=list(hints(sources)),
    )
