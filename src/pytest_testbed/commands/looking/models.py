"""SQLAlchemy in a project: base classes with their models, engines, session factories."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .source import Source, literal
from .tree import Place

__all__ = ["Base", "Target", "bases", "resolved", "targets"]

BASE_CLASSES = ("sqlalchemy.orm.DeclarativeBase", "sqlalchemy.orm.DeclarativeBaseNoMeta")
MAKERS = {
    "sqlalchemy.orm.declarative_base": "declarative_base()",
    "sqlalchemy.ext.declarative.declarative_base": "declarative_base()",
    "sqlalchemy.MetaData": "MetaData()",
    "sqlalchemy.schema.MetaData": "MetaData()",
    "sqlalchemy.orm.registry": "registry()",
    "flask_sqlalchemy.SQLAlchemy": "Flask-SQLAlchemy's object",
}
ENGINES = {
    "sqlalchemy.create_engine": "engine",
    "sqlalchemy.engine.create_engine": "engine",
    "sqlmodel.create_engine": "engine",
    "sqlalchemy.ext.asyncio.create_async_engine": "async engine",
    "sqlalchemy.ext.asyncio.engine.create_async_engine": "async engine",
    "sqlalchemy.engine_from_config": "engine",
    "sqlalchemy.ext.asyncio.async_engine_from_config": "async engine",
}
SESSIONS = {
    "sqlalchemy.orm.sessionmaker": "session factory",
    "sqlalchemy.ext.asyncio.async_sessionmaker": "session factory",
    "sqlalchemy.orm.scoped_session": "scoped session",
    "sqlalchemy.ext.asyncio.async_scoped_session": "scoped session",
}
TABLE = ("sqlalchemy.Table", "sqlalchemy.schema.Table")


@dataclass
class Base:
    """What tables are known to: a base class, a `MetaData`, a `registry`, or Flask-SQLAlchemy's `db`.

    Attributes:
        name: its full name.
        entry: the import path, with a colon.
        kind: what it is.
        place: where it is made.
        models: the modules with tables of it, and how many each has.
        entries: what `testbed_pg_schema` needs for all of them.
    """

    name: str
    entry: str
    kind: str
    place: Place
    models: dict[str, int] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """An engine or a session factory that is made when its module is imported.

    Attributes:
        entry: the import path, with a colon.
        kind: what it is.
        place: where it is made.
        url: the address, where it stands in the source.
        engine: the full name of the engine that a session factory is made with, where that can be seen.
    """

    entry: str
    kind: str
    place: Place
    url: str | None = None
    engine: str = ""


def resolved(name: str, modules: Mapping[str, Source], steps: int = 6) -> str:
    """Follow a name through modules that only hand it on: `shop.models.Base` may be `shop.db.Base`."""
    for _ in range(steps):
        module, _, last = name.rpartition(".")
        source = modules.get(module)
        if source is None or last in source.top_names or last not in source.imported:
            return name
        name = source.imported[last]
    return name


def bases(sources: Mapping[str, Source], modules: Mapping[str, Source]) -> list[Base]:
    """Return the bases that have tables, those with most first; where none has, all of them."""
    found = {base.name: base for base in _made(sources)}
    parents = {f"{source.module}.{node.name}": (source, node) for source in sources.values() for node in source.classes}
    for name, (source, node) in parents.items():
        if name not in found and _has_table(node) and (owner := _owner(name, parents, found, modules)):
            counted = found[owner].models
            counted[source.module] = counted.get(source.module, 0) + 1
    for source in sources.values():
        for call in source.calls:
            if call.name in TABLE and len(call.node.args) > 1:
                name = source.full(call.node.args[1])
                for owner in (resolved(name, modules), resolved(name.removesuffix(".metadata"), modules)):
                    if owner in found:
                        found[owner].models[source.module] = found[owner].models.get(source.module, 0) + 1
                        break
    lent = set(_lent(sources, modules))
    kept = [base for base in found.values() if base.name not in lent and not (base.kind == "SQLModel" and not base.models)]
    filled = [base for base in kept if base.models]
    chosen = sorted(filled or kept, key=lambda base: (-sum(base.models.values()), base.entry))
    reach = _reach(modules)
    for base in chosen:
        base.entries = _entries(base, modules, reach)
    return chosen


def _made(sources: Mapping[str, Source]) -> Iterator[Base]:
    for source in sources.values():
        if not source.is_own:
            continue
        for node in source.classes:
            full = f"{source.module}.{node.name}"
            makers = [source.full(getattr(each, "func", each)) for each in node.decorator_list]
            if any(source.full(each) in BASE_CLASSES for each in node.bases) or any(
                maker.endswith((".as_declarative", ".as_declarative_base")) for maker in makers
            ):
                yield Base(full, f"{source.module}:{node.name}", "declarative base", source.at(node))
        for name, value, statement in source.assigned:
            if isinstance(value, ast.Call):
                maker = source.full(value.func)
                kind = MAKERS.get(maker) or ("declarative base" if maker.endswith(".generate_base") else "")
                if kind:
                    yield Base(f"{source.module}.{name}", f"{source.module}:{name}", kind, source.at(statement))
    users = [
        source
        for source in sources.values()
        if source.is_own and any(name.partition(".")[0] == "sqlmodel" for name in source.imported.values())
    ]
    if users:
        models = (
            source.at(node)
            for source in users
            for node in source.classes
            if any(source.full(each).startswith("sqlmodel.") for each in node.bases)
        )
        place = next(models, Place(users[0].path, 1))
        yield Base("sqlmodel.SQLModel", "sqlmodel:SQLModel", "SQLModel", place)


def _has_table(node: ast.ClassDef) -> bool:
    """Tell whether a class is a model with a table of its own, and not an abstract one."""
    if any(each.arg == "table" and literal(each.value) == "True" for each in node.keywords):
        return True
    names = {target.id: value for each in node.body for target, value in _assignments(each)}
    if "__abstract__" in names:
        return False
    columns = ("Column", "mapped_column", "relationship")
    return bool({"__tablename__", "__table__"} & names.keys()) or any(
        isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in columns for value in names.values()
    )


def _assignments(node: ast.stmt) -> list[tuple[ast.Name, ast.expr | None]]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [(node.target, node.value)]
    if isinstance(node, ast.Assign):
        return [(target, node.value) for target in node.targets if isinstance(target, ast.Name)]
    return []


def _owner(
    name: str,
    parents: Mapping[str, tuple[Source, ast.ClassDef]],
    found: Mapping[str, Base],
    modules: Mapping[str, Source],
    depth: int = 0,
) -> str:
    """Return the base that a class descends from, "" for none."""
    if name == "sqlmodel.main.SQLModel":
        name = "sqlmodel.SQLModel"
    if name in found:
        return name
    if name.endswith(".Model") and name.removesuffix(".Model") in found:
        return name.removesuffix(".Model")
    if depth > 12 or name not in parents:
        return ""
    source, node = parents[name]
    for each in node.bases:
        full = source.full(each)
        # `db.Model` is an attribute of what `db` is, wherever that was made
        stem, dot, last = full.rpartition(".")
        above = f"{resolved(stem, modules)}.{last}" if dot and last == "Model" else resolved(full, modules)
        if owner := _owner(above, parents, found, modules, depth + 1):
            return owner
    return ""


def _lent(sources: Mapping[str, Source], modules: Mapping[str, Source]) -> Iterator[str]:
    """Yield what another base is made of: `SQLAlchemy(model_class=Base)`, `metadata = MetaData()` of a base class."""
    for source in sources.values():
        for call in source.calls:
            if call.name in MAKERS and call.name not in ("sqlalchemy.MetaData", "sqlalchemy.schema.MetaData"):
                yield from (resolved(source.full(each.value), modules) for each in call.node.keywords)
            elif call.name.endswith(".generate_base"):
                yield resolved(call.name.removesuffix(".generate_base"), modules)
        for node in source.classes:
            for statement in node.body:
                for target, value in _assignments(statement):
                    if target.id in ("metadata", "registry") and (name := source.full(value)):
                        yield resolved(name, modules)


def _entries(base: Base, modules: Mapping[str, Source], reach: Callable[[str], frozenset[str]]) -> list[str]:
    """Return what the schema must name, so that all modules with models are imported."""
    home, _, last = base.name.rpartition(".")
    wanted = set(base.models)
    if base.name == "sqlmodel.SQLModel":
        home = ""
    if home and wanted <= reach(home):
        return [base.entry]
    whole = [name for name, source in modules.items() if source.is_own and wanted <= reach(name)]
    # a module that imports all models and little else: a package of models, or what Alembic imports them by
    near = sorted(whole, key=lambda name: (len(reach(name)), name.count("."), name))
    for name in near:
        source = modules[name]
        if last in source.imported and resolved(f"{name}.{last}", modules) == base.name:
            return [f"{name}:{last}"]
        if len(wanted) > 1 or name in wanted:
            return [name, base.entry]
    return [*sorted(wanted), base.entry]


def _reach(modules: Mapping[str, Source]) -> Callable[[str], frozenset[str]]:
    """Return a function that tells which of the project's modules an import of one imports, itself included."""
    known: dict[str, frozenset[str]] = {}
    edges: dict[str, set[str]] = {}
    for name, source in modules.items():
        parts = name.split(".")
        parents = {".".join(parts[:depth]) for depth in range(1, len(parts))}
        edges[name] = (parents | source.modules) & modules.keys()

    def reach(name: str) -> frozenset[str]:
        if name not in known:
            seen: set[str] = set()
            todo = [name]
            while todo:
                each = todo.pop()
                if each not in seen and each in edges:
                    seen.add(each)
                    todo += edges[each]
            known[name] = frozenset(seen)
        return known[name]

    return reach


def targets(sources: Mapping[str, Source], modules: Mapping[str, Source]) -> list[Target]:
    """Return the engines and session factories that modules make when they are imported."""
    found: list[Target] = []
    for source in sources.values():
        if not source.is_own or source.path.rpartition("/")[2] == "env.py":
            continue
        texts: dict[str, str] = defaultdict(str)
        for name, value, statement in source.assigned:
            if isinstance(value, ast.Call):
                found += _target(source, name, value, statement, texts, modules)
            elif (text := literal(value)) is not None:
                texts[name] = text
    return found


def _target(
    source: Source, name: str, value: ast.Call, statement: ast.stmt, texts: Mapping[str, str], modules: Mapping[str, Source]
) -> list[Target]:
    maker = source.full(value.func)
    entry, place = f"{source.module}:{name}", source.at(statement)
    if kind := ENGINES.get(maker):
        url = value.args[0] if value.args else next((each.value for each in value.keywords if each.arg == "url"), None)
        text = literal(url) or (texts.get(url.id) if isinstance(url, ast.Name) else None)
        return [Target(entry, kind, place, text)]
    if kind := SESSIONS.get(maker):
        first = (
            value.args[0]
            if value.args
            else next((each.value for each in value.keywords if each.arg in ("bind", "session_factory")), None)
        )
        if isinstance(first, ast.Call):  # scoped_session(sessionmaker(bind=engine))
            inner = first.args[0] if first.args else next((each.value for each in first.keywords if each.arg == "bind"), None)
            first = inner
        return [Target(entry, kind, place, None, resolved(source.full(first), modules))]
    if maker == "flask_sqlalchemy.SQLAlchemy":
        return [Target(entry, "Flask-SQLAlchemy's object", place)]
    return []
