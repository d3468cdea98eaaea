"""What a schema is made of, told without a server: each kind of entry, and the files that are read meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import DDL, Column, Enum, ForeignKey, Index, Integer, MetaData, String, Table, event, text

from pytest_testbed.postgres import reads
from pytest_testbed.postgres.evidence import schema_key
from pytest_testbed.postgres.reads import CHANGED, FilesRead, still_true
from pytest_testbed.postgres.sources import import_closure

# Python hides from debuggers, and from whatever else traces, what such a hook does; here they see it
reads._hook.__cantrace__ = True  # type: ignore[attr-defined]


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def key(self, *entries: object, more: tuple[str, ...] = ()) -> str | None:
        return schema_key(entries, self.root, *more)

    def closure(self, *names: str) -> list[str]:
        return sorted(
            name for name in import_closure([str(self.root / name) for name in names], self.root) if "installed" not in name
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    known = set(sys.modules)
    yield Project(root)
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or str(root)).startswith(str(root)):
            del sys.modules[name]


def shop(**changes: object) -> MetaData:
    metadata = MetaData()
    Table(
        "users",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(20), index=True),
        Column("kind", Enum(*changes.get("kinds", ("a", "b")), name="kind")),  # type: ignore[misc]
        *changes.get("columns", ()),  # type: ignore[misc]
    )
    Table("orders", metadata, Column("id", Integer, primary_key=True), Column("user", ForeignKey("users.id")))
    return metadata


# --- seeds


def seed_key(project: Project, *seeds: object) -> str | None:
    return schema_key([shop()], project.root, seeds=seeds)


def test_seeds(project: Project) -> None:
    project.put("seeds/users.csv", "id\n1\n")
    project.put("more.sql", "SELECT 1")
    keys = [seed_key(project, *seeds) for seeds in ((), ("seeds",), ("seeds/users.csv",), ("more.sql",), ("more.sql", "seeds"))]
    assert None not in keys
    assert len(set(keys)) == 5
    assert seed_key(project, Path("seeds")) == seed_key(project, "seeds")


@pytest.mark.parametrize("file", ["seeds/users.csv", "seeds/orders.csv", "more.sql"])
def test_a_changed_seed(project: Project, file: str) -> None:
    project.put("seeds/users.csv", "id\n1\n")
    project.put("more.sql", "SELECT 1")
    before = seed_key(project, "seeds", "more.sql")
    project.put(file, "id\n2\n")
    assert seed_key(project, "seeds", "more.sql") not in (None, before)


def test_a_seeding_function(project: Project) -> None:
    project.put("seeding.py", "def fill(connection): pass\n")
    before = seed_key(project, "seeding:fill")
    assert before is not None
    project.put("seeding.py", "def fill(connection): connection.execute('x')\n")
    assert seed_key(project, "seeding:fill") != before


def test_a_seed_that_is_wrong_has_no_key(project: Project) -> None:
    assert [seed_key(project, seed) for seed in ("missing.csv", "no such thing", 7)] == [None, None, None]


# --- metadata


def test_metadata(project: Project) -> None:
    key = project.key(shop())
    assert key is not None
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert project.key(shop()) == key


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: shop(columns=[Column("mail", String)]), id="a column"),
        pytest.param(lambda: shop(kinds=("a", "b", "c")), id="a value of an enum"),
        pytest.param(lambda: shop(columns=[Index("by_kind", "kind")]), id="an index"),
        pytest.param(lambda: shop(columns=[Column("n", Integer, server_default=text("7"))]), id="a server default"),
    ],
)
def test_a_change_of_the_metadata(project: Project, other: Callable[[], MetaData]) -> None:
    assert project.key(other()) not in (None, project.key(shop()))


def test_what_else_counts(project: Project) -> None:
    keys = [project.key(shop()), project.key(shop(), more=("16",)), project.key(shop(), more=("1", "6")), project.key()]
    keys += [project.key(more=("a", "b")), project.key(more=("amoreb",))]
    assert len({*keys, None}) == 7


def test_tables_in_another_order(project: Project) -> None:
    def metadata(names: str) -> MetaData:
        made = MetaData()
        for name in names:
            table = Table(name, made, Column("id", Integer), *[Column(f"c{n}", Integer, index=True) for n in range(8)])
            event.listen(table, "after_create", DDL("GRANT SELECT ON %(table)s TO PUBLIC"))
        return made

    assert project.key(metadata("abc")) == project.key(metadata("cba"))


def test_ddl_of_a_listener(project: Project) -> None:
    plain, with_view, with_other = shop(), shop(), shop()
    event.listen(with_view, "after_create", DDL("CREATE VIEW v AS SELECT 1"))
    event.listen(with_other.tables["users"], "after_create", DDL("CREATE VIEW v AS SELECT 2"))
    assert len({project.key(metadata) for metadata in (plain, with_view, with_other)} | {None}) == 4


def test_a_listener_that_executes(project: Project) -> None:
    def listening(statement: str, number: int, parameter: int) -> MetaData:
        metadata = shop()

        @event.listens_for(metadata, "after_create")
        def listener(target: MetaData, connection: object, **_: object) -> None:
            connection.execute(target.tables["users"].insert().values(id=number))  # type: ignore[attr-defined]
            connection.exec_driver_sql(statement)  # type: ignore[attr-defined]
            connection.execute(text("SELECT :n"), {"n": parameter})  # type: ignore[attr-defined]

        return metadata

    first = project.key(listening("SELECT 'x'", 1, 1))
    assert first is not None
    assert first == project.key(listening("SELECT 'x'", 1, 1))
    assert first != project.key(listening("SELECT 'y'", 1, 1))
    assert first != project.key(listening("SELECT 'x'", 2, 1))
    assert first != project.key(listening("SELECT 'x'", 1, 2))


def test_the_order_of_listeners_counts(project: Project) -> None:
    def listening(*statements: str) -> MetaData:
        metadata = shop()
        for statement in statements:
            event.listen(metadata, "after_create", DDL(statement))
        return metadata

    assert project.key(listening("GRANT a TO b", "REVOKE a FROM b")) != project.key(listening("REVOKE a FROM b", "GRANT a TO b"))


LISTENER = """
from sqlalchemy import event, text
from .base import Base

@event.listens_for(Base.metadata, "after_create")
def fill(target, connection, **_):
    if not connection.execute(text("SELECT 1")).scalar():
        connection.execute(text("SELECT 'filled'"))
"""
BASE = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): ...\n"
MODELS = """
from sqlalchemy import Column, Enum, ForeignKey, Integer, Table
from . import constants
from .base import Base

class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    kind = Column(Enum("a", "b", name="kind"))

friends = Table("friends", Base.metadata, Column("a", ForeignKey("users.id")))
"""


@pytest.mark.parametrize("changed", ["shop/fill.py", "shop/base.py", "shop/models.py", "shop/constants.py"])
def test_a_listener_that_needs_a_database_counts_by_its_sources(project: Project, changed: str) -> None:
    project.put("shop/__init__.py", "")
    project.put("shop/base.py", BASE)
    project.put("shop/models.py", MODELS)
    project.put("shop/constants.py", "LENGTH = 3\n")
    project.put("shop/fill.py", LISTENER)
    project.put("other.py", "from shop.models import friends, User\nimport shop.unrelated\n")
    project.put("shop/unrelated.py", "")
    entries = ("other", "shop.fill", "shop.base:Base")
    first = project.key(*entries)
    assert first is not None
    assert project.key(*entries) == first
    project.put("shop/unrelated.py", "x = 1\n")
    assert project.key(*entries) == first
    project.put(changed, (project.root / changed).read_text() + "# more\n")
    assert project.key(*entries) not in (None, first)


def test_ddl_counts_beside_a_listener_that_needs_a_database(project: Project) -> None:
    project.put("shop/__init__.py", "")
    project.put("shop/base.py", BASE)
    project.put("shop/models.py", MODELS)
    project.put("shop/constants.py", "")
    project.put("shop/fill.py", LISTENER)
    entries = ("shop.models", "shop.fill", "shop.base:Base")
    keys = [project.key(*entries)]
    from shop.base import Base  # type: ignore[import-not-found]

    for statement in ("GRANT a TO b", "GRANT a TO c"):
        ddl = DDL(statement)
        event.listen(Base.metadata, "after_create", ddl)
        keys.append(project.key(*entries))
        event.remove(Base.metadata, "after_create", ddl)
    assert len({*keys, None}) == 4
    assert project.key(*entries) == keys[0]


def test_a_listener_that_needs_a_database_and_tables_of_nobody_knows_where(project: Project) -> None:
    metadata = shop()
    event.listen(metadata, "after_create", lambda target, connection, **_: connection.execute(text("SELECT 1")).scalar())
    assert project.key(metadata) is None


def test_a_value_with_an_address_is_no_evidence(project: Project) -> None:
    metadata, thing = shop(), object()
    event.listen(metadata, "after_create", lambda target, connection, **_: connection.execute(text("SELECT :a"), {"a": thing}))
    assert project.key(metadata) is None


def test_modules_are_imported_before_any_metadata_is_read(project: Project) -> None:
    project.put("base.py", "from sqlalchemy import MetaData\nmetadata = MetaData()\n")
    project.put(
        "later.py",
        "from base import metadata\nfrom sqlalchemy import *\nTable('t', metadata, Column('a', Integer))\n",
    )
    with_table = project.key("base:metadata", "later")
    sys.modules["base"].metadata.clear()
    assert with_table != project.key("base:metadata", "later")


# --- files


def test_sql(project: Project) -> None:
    project.put("a.sql", b"SELECT '\xe4'")
    first = project.key("a.sql")
    assert first is not None
    assert project.key("a.sql") == first
    project.put("b.sql", "SELECT 2")
    assert project.key("a.sql") == first
    assert project.key("b.sql") != first
    project.put("a.sql", b"SELECT '\xe5'")
    assert project.key("a.sql") not in (None, first)


def test_a_path(project: Project) -> None:
    project.put("a.sql", "SELECT 1")
    first = project.key(Path("a.sql"))
    project.put("a.sql", "SELECT 2")
    assert project.key(Path("a.sql")) not in (None, first)


def test_order_counts(project: Project) -> None:
    project.put("a.sql", "SELECT 1")
    project.put("b.sql", "SELECT 2")
    assert project.key("a.sql", "b.sql") != project.key("b.sql", "a.sql")


def test_a_missing_file(project: Project) -> None:
    first = project.key("a.sql", "alembic.ini")
    assert first is not None
    project.put("a.sql", "")
    assert project.key("a.sql", "alembic.ini") != first


@pytest.fixture(params=["alembic.ini", "pyproject.toml"])
def alembic(request: pytest.FixtureRequest, project: Project) -> str:
    name: str = request.param
    if name == "alembic.ini":
        settings = "[alembic]\nscript_location = %(here)s/db/migrations\nversion_locations = db/more:db/migrations/versions\n"
        project.put(name, settings + "prepend_sys_path = lib\n")
    else:
        settings = '[tool.alembic]\nscript_location = "%(here)s/db/migrations"\n'
        project.put(name, settings + 'version_locations = ["db/more", "db/migrations/versions"]\nprepend_sys_path = ["lib"]\n')
    project.put("db/migrations/env.py", "from alembic import context\nfrom helpers import thing\nimport lonely\n")
    project.put("db/migrations/versions/1.py", b"# \xe4\nfrom alembic import op\n")
    project.put("db/migrations/versions/fill.sql", "SELECT 1")
    project.put("db/more/2.py", "")
    project.put("helpers/__init__.py", "from .inner import *\n")
    project.put("helpers/inner.py", "")
    project.put("helpers/thing.py", "")
    project.put("helpers/unused.py", "")
    project.put("lib/lonely.py", "")
    return name


@pytest.mark.parametrize(
    "changed",
    [
        "db/migrations/versions/3.py",
        "db/migrations/versions/1.py",
        "db/migrations/versions/fill.sql",
        "db/migrations/env.py",
        "db/more/2.py",
        "db/more/4.py",
        "helpers/__init__.py",
        "helpers/inner.py",
        "helpers/thing.py",
        "lib/lonely.py",
    ],
)
def test_alembic(project: Project, alembic: str, changed: str) -> None:
    first = project.key(alembic)
    assert first is not None
    project.put(changed, "VERSION = 2\n")
    assert project.key(alembic) not in (None, first)


def test_settings_of_alembic(project: Project, alembic: str) -> None:
    first = project.key(alembic)
    project.put(alembic, (project.root / alembic).read_text() + "# \n")
    assert project.key(alembic) not in (None, first)


def test_a_renamed_migration(project: Project, alembic: str) -> None:
    first = project.key(alembic)
    (project.root / "db/migrations/versions/1.py").rename(project.root / "db/migrations/versions/9.py")
    assert project.key(alembic) not in (None, first)


@pytest.mark.parametrize(
    "unrelated",
    ["helpers/unused.py", "readme.md", "db/migrations/__pycache__/x.txt", "db/migrations/.git/x", "db/migrations/old.pyc"],
)
def test_what_is_no_matter_to_alembic(project: Project, alembic: str, unrelated: str) -> None:
    first = project.key(alembic)
    project.put(unrelated, "VERSION = 2\n")
    assert project.key(alembic) == first


NOWHERE = ["[alembic]", "[alembic]\nscript_location = none", "[alembic]\nscript_location = .\nversion_locations = %(x)s", "[a"]


@pytest.mark.parametrize("text", NOWHERE)
def test_an_ini_that_leads_nowhere(project: Project, text: str) -> None:
    project.put("alembic.ini", text)
    assert project.key("alembic.ini") is None


def test_migrations_in_a_package(project: Project) -> None:
    project.put("alembic.ini", "[alembic]\nscript_location = shop.db:migrations\n")
    project.put("shop/db/migrations/env.py", "")
    first = project.key("alembic.ini")
    project.put("shop/db/migrations/versions/1.py", "")
    assert project.key("alembic.ini") not in (None, first)


# --- functions


@pytest.fixture
def seeds(project: Project) -> Project:
    project.put("shop/__init__.py", "")
    project.put("shop/seeds.py", "from .one import f\ndef seed(connection): ...\nLENGTH = 3\n")
    project.put("shop/one.py", "def f():\n    from shop import two\n")
    project.put("shop/two.py", "")
    project.put("shop/unused.py", "")
    return project


@pytest.mark.parametrize("changed", ["shop/seeds.py", "shop/one.py", "shop/two.py", "shop/__init__.py"])
@pytest.mark.parametrize("as_object", [False, True])
def test_a_function(seeds: Project, changed: str, as_object: bool) -> None:
    entry: object = "shop.seeds:seed"
    if as_object:
        from shop.seeds import seed as entry  # type: ignore[import-not-found,no-redef]
    first = seeds.key(entry)
    assert first is not None
    seeds.put("shop/unused.py", "x = 1")
    assert seeds.key(entry) == first
    seeds.put(changed, (seeds.root / changed).read_text() + "# more\n")
    assert seeds.key(entry) not in (None, first)


def test_values_that_are_bound(seeds: Project) -> None:
    def seed(count: int, names: tuple[str, ...] = ()) -> None: ...

    def closing(value: object) -> Callable[[], object]:
        return lambda: value

    def defaulting(value: object) -> Callable[[], object]:
        return lambda value=value: value

    values = [
        *(partial(seed, 1), partial(seed, 2), partial(seed, 1, names=("a",)), partial(seed, 1, names=("b",))),
        *(closing(1), closing("1"), closing({"a": [1]}), closing({"a": [2]}), defaulting(1), defaulting(2)),
        *(closing(seed), closing(partial(seed, 3))),
    ]
    assert len({seeds.key(value) for value in values} | {None}) == len(values) + 1
    assert seeds.key(closing([1])) == seeds.key(closing([1]))


def test_a_function_that_holds_itself(seeds: Project) -> None:
    def seed() -> object:
        return seed

    assert seeds.key(seed) == seeds.key(seed) is not None


def test_a_method_of_a_class_counts_with_its_sources(seeds: Project) -> None:
    seeds.put("shop/three.py", "class Seeds:\n    @classmethod\n    def seed(cls, connection): ...\nclass More(Seeds): ...\n")
    from shop.three import More, Seeds  # type: ignore[import-not-found]

    first = seeds.key(Seeds.seed)
    assert first is not None
    assert seeds.key(More.seed) not in (None, first)
    seeds.put("shop/three.py", "x = 1")
    assert seeds.key(Seeds.seed) not in (None, first)


def test_a_module_that_is_bound_to_a_function_counts(seeds: Project) -> None:
    from shop import one  # type: ignore[import-not-found]
    from shop import seeds as module

    first = seeds.key(partial(module.seed, one))
    assert first is not None
    assert seeds.key(partial(module.seed, module)) != first
    assert seeds.key(partial(module.seed, sys)) is None  # it has no source


def test_a_variable_that_is_not_there_yet_cannot_be_told(seeds: Project) -> None:
    def seed() -> object:
        return later

    assert seeds.key(seed) is None
    later = 1
    assert seeds.key(seed) is not None


@pytest.mark.parametrize("value", [object(), print, {1, 2}, threading.Lock()])
def test_values_that_cannot_be_told(seeds: Project, value: object) -> None:
    def seed() -> object:
        return value

    assert seeds.key(seed) is None
    assert seeds.key(partial(seed, value)) is None


def test_functions_without_a_source(seeds: Project) -> None:
    made: dict[str, object] = {}
    exec("def seed(): ...", made)
    assert seeds.key(made["seed"]) is None
    assert seeds.key(print) is None


NO_ENTRIES = [7, "not an entry", "shop.nothing", "shop.seeds:nothing", "shop.seeds:LENGTH", "os:path", Project]


@pytest.mark.parametrize("entry", NO_ENTRIES)
def test_what_is_no_entry_is_left_to_the_building(seeds: Project, entry: object) -> None:
    assert seeds.key(entry) is None


def test_a_module_counts_by_its_name(seeds: Project) -> None:
    first = seeds.key("shop.seeds")
    seeds.put("shop/seeds.py", "x = 1")
    assert first is not None
    assert seeds.key("shop.seeds") == first
    assert seeds.key("shop.one") != first


# --- modules that are reached


@pytest.mark.parametrize(
    "line",
    [
        "import pkg.sub.leaf",
        "import os, pkg.sub.leaf as leaf",
        "from pkg.sub import leaf",
        "from pkg.sub.leaf import x",
        "from pkg.sub import (  # why (not)\n    other,\n    leaf as l,\n)",
        "from pkg.sub import other, \\\n    leaf",
        "from .sub import leaf",
        "from .sub.leaf import *",
        "from . import sub; from .sub import leaf",
        "if True: from pkg.sub import leaf",
        "def f():\n\timport pkg.sub.leaf",
        "import importlib\nimportlib.import_module('pkg.sub.leaf')",
    ],
)
def test_import_statements(project: Project, line: str) -> None:
    for name in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/leaf.py", "pkg/sub/unused.py"):
        project.put(name, "")
    project.put("pkg/start.py", f"{line}\n")
    found = project.closure("pkg/start.py")
    assert {"pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/leaf.py", "pkg/start.py"} <= set(found)
    assert ("pkg/sub/unused.py" in found) == ("import_module" in line)


def test_packages_are_run_before_their_modules(project: Project) -> None:
    for name in ("pkg/__init__.py", "pkg/a/__init__.py", "pkg/a/b/__init__.py", "pkg/a/b/start.py"):
        project.put(name, "")
    assert project.closure("pkg/a/b/start.py") == [
        "pkg/__init__.py",
        "pkg/a/__init__.py",
        "pkg/a/b/__init__.py",
        "pkg/a/b/start.py",
    ]


def test_a_module_that_is_imported_by_a_call(project: Project) -> None:
    project.put("pkg/leaf.py", "")
    project.put("pkg/unused.py", "")
    project.put("start.py", "import importlib\nimportlib.import_module('pkg.leaf')\n")
    assert project.closure("start.py") == ["pkg/leaf.py", "start.py"]


def test_import_statements_that_go_up(project: Project) -> None:
    for name in ("pkg/__init__.py", "pkg/leaf.py", "pkg/a/__init__.py", "pkg/a/b/__init__.py"):
        project.put(name, "")
    project.put("pkg/a/b/start.py", "from ... import leaf\n")
    assert "pkg/leaf.py" in project.closure("pkg/a/b/start.py")


def test_namespace_packages_and_circles(project: Project) -> None:
    project.put("space/a.py", "from space import b\n")
    project.put("space/b.py", "import space.a\n")
    assert project.closure("space/a.py") == ["space/a.py", "space/b.py"]


def test_folders_of_src(project: Project) -> None:
    project.put("src/pkg/leaf.py", "")
    project.put("start.py", "import pkg.leaf\n")
    assert project.closure("start.py") == ["src/pkg/leaf.py", "start.py"]


def test_what_is_installed_is_not_read(project: Project) -> None:
    project.put("start.py", "import os, sqlalchemy.orm, pytest\nfrom alembic import op\n")
    found = import_closure([str(project.root / "start.py")], project.root)
    assert sorted(found) == ["installed alembic", "installed pytest", "installed sqlalchemy", "start.py"]
    assert all(len(content) < 80 for content in found.values())


def test_many_files_are_read_quickly(project: Project) -> None:
    for number in range(50):
        project.put(f"m/{number}.py", "from alembic import op\nimport sqlalchemy as sa\n" + "    op.execute('x')\n" * 40)
    for number in range(20):
        project.put(f"shop/m{number}.py", f"from . import m{(number + 1) % 20}\nimport os\n" + "def f(): return 1\n" * 100)
    project.put("m/env.py", "import shop.m0\n")
    began = time.perf_counter()
    found = project.closure(*(f"m/{name}.py" for name in [*range(50), "env"]))
    assert len(found) == 71
    assert time.perf_counter() - began < 0.5  # it takes 6 ms; a machine may be busy


# --- another process

SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from pytest_testbed.postgres.evidence import schema_key
root = Path(sys.argv[1])
sys.path.insert(0, sys.argv[1])
from shop.many import metadata
from shop.seeds import seed
entries = [metadata, "shop.many:metadata", "a.sql", "alembic.ini", seed, "shop.seeds:seed", partial(seed, {"b": 1})]
print(schema_key(entries, root, "16"))
"""
MANY = """
from sqlalchemy import *
metadata = MetaData()
for n in range(6):
    columns = [Column(f"c{i}", Enum("x", "y", name=f"e{i}"), index=True, unique=i > 3) for i in range(6)]
    Table(f"t{n}", metadata, Column("id", Integer, primary_key=True), *columns, Column("f", ForeignKey(f"t{(n + 1) % 6}.id")))
"""


def test_another_process_another_hash_seed_and_another_folder(seeds: Project, tmp_path: Path) -> None:
    seeds.put("shop/many.py", MANY)
    seeds.put("a.sql", "SELECT 1")
    seeds.put("alembic.ini", "[alembic]\nscript_location = migrations\n")
    seeds.put("migrations/env.py", "import shop.one\n")
    keys = set()
    for number, folder in enumerate((tmp_path, seeds.root, Path("/"))):
        environ = {**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SCRIPT, str(seeds.root)]
        keys.add(subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, text=True).stdout.strip())
    assert len(keys) == 1
    assert len(keys.pop()) == 16


# --- files that are read


def test_a_file_that_is_read(project: Project) -> None:
    users = project.put("seeds/users.json", b"\xe4")
    project.put("seeds/other.json", "")
    with FilesRead(project.root) as read:
        users.read_bytes()
    found = read.files()
    assert list(found) == ["seeds/users.json"]
    project.put("seeds/other.json", "1")
    assert still_true(found, project.root)
    os.utime(users, (1, 1))
    assert still_true(found, project.root)
    users.write_bytes(b"\xe5")
    assert not still_true(found, project.root)
    users.unlink()
    assert not still_true(found, project.root)


def test_a_file_that_is_read_by_a_relative_path_and_by_bytes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put("a.txt", "")
    project.put("b.txt", "")
    monkeypatch.chdir(project.root)
    with FilesRead(project.root) as read:
        open("a.txt").close()
        os.close(os.open(b"b.txt", os.O_RDONLY))
    assert list(read.files()) == ["a.txt", "b.txt"]


def test_what_is_left_out(project: Project, tmp_path: Path) -> None:
    names = ["a.py", "b.pyc", ".git/c", ".venv/d", "node_modules/e", ".pytest_cache/f", "env/lib/site-packages/g"]
    paths = [project.put(name, "") for name in names] + [tmp_path / "outside.txt"]
    paths[-1].write_text("")
    with FilesRead(project.root) as read:
        for path in paths:
            path.read_bytes()
        os.close(os.open(project.root, os.O_RDONLY))
        os.close(os.open(project.put("seeds/a.py", "").parent, os.O_RDONLY))
    assert read.files() == {}


def test_what_is_written_meanwhile(project: Project) -> None:
    project.put("updated.txt", "1")
    project.put("kept.txt", "1")
    with FilesRead(project.root) as read:
        for name in ("new.txt", "updated.txt"):
            (project.root / name).write_text("2")
            (project.root / name).read_text()
        project.put("part.txt", "3").rename(project.root / "renamed.txt")
        (project.root / "renamed.txt").read_text()
        (project.root / "kept.txt").read_text()
        with open(project.root / "kept.txt", "r+"):
            pass
    assert read.files() == {}


def test_a_file_that_somebody_else_changes_meanwhile(project: Project) -> None:
    path = project.put("users.json", "1")
    with FilesRead(project.root) as read:
        path.read_text()
        subprocess.run(["sh", "-c", f"echo 22 > '{path}'"], check=True)
    assert read.files() == {"users.json": CHANGED}
    assert not still_true(read.files(), project.root)


def test_a_file_that_was_looked_for_in_vain(project: Project) -> None:
    with FilesRead(project.root) as read, pytest.raises(FileNotFoundError):
        (project.root / "local.json").read_text()
    found = read.files()
    assert still_true(found, project.root)
    project.put("local.json", "")
    assert not still_true(found, project.root)


def test_a_folder_that_was_listed(project: Project) -> None:
    project.put("seeds/a.json", "")
    with FilesRead(project.root) as read:
        list((project.root / "seeds").glob("*.json"))
    found = read.files()
    assert list(found) == ["seeds/"]
    project.put("seeds/b.pyc", "")
    assert still_true(found, project.root)
    project.put("seeds/b.json", "")
    assert not still_true(found, project.root)
    shutil.rmtree(project.root / "seeds")
    assert not still_true(found, project.root)


def test_the_current_folder_is_listed_without_its_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    with FilesRead(project.root) as read:
        os.listdir()
    assert list(read.files()) == ["./"]


def test_importing_lists_no_folder(project: Project) -> None:
    project.put("imported_meanwhile.py", "")
    with FilesRead(project.root) as read:
        __import__("imported_meanwhile")
    assert read.files() == {}


def test_a_big_file_counts_by_size_and_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "BIG", 3)
    path = project.put("dump.bin", "12345")
    with FilesRead(project.root) as read:
        path.read_bytes()
    found = read.files()
    assert found["dump.bin"].startswith("5 bytes")
    assert still_true(found, project.root)
    os.utime(path, (1, 1))
    assert not still_true(found, project.root)


def test_nothing_is_recorded_outside(project: Project) -> None:
    before, inside = project.put("before.txt", ""), project.put("inside.txt", "")
    read = FilesRead(project.root)
    before.read_text()
    with read:
        inside.read_text()
    before.read_text()
    assert list(read.files()) == ["inside.txt"]


def test_one_hook_for_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with FilesRead(project.root):
        pass
    added: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", added.append)
    with FilesRead(project.root), FilesRead(project.root):
        pass
    assert added == []


def test_a_fault_of_ours_is_not_the_openers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.put("a.txt", "1")

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(FilesRead, "saw", broken)
    with FilesRead(project.root):
        assert path.read_text() == "1"


def test_threads(project: Project) -> None:
    paths = [project.put(f"{number}.txt", str(number)) for number in range(200)]

    def read_some(first: int) -> None:
        for path in paths[first::8]:
            path.read_text()

    with FilesRead(project.root) as outer, FilesRead(project.root) as inner:
        threads = [threading.Thread(target=read_some, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(outer.files()) == {path.name for path in paths}
    assert outer.files() == inner.files()


def test_an_exception_passes_and_ends_the_recording(project: Project) -> None:
    path = project.put("a.txt", "")
    with pytest.raises(ZeroDivisionError), FilesRead(project.root) as read:
        raise ZeroDivisionError
    path.read_text()
    assert read.files() == {}


def test_folders_in_which_modules_are_looked_for_are_no_data(project: Project) -> None:
    import pkgutil
    from importlib.machinery import PathFinder
    from importlib.metadata import distributions

    project.put("package/__init__.py", "")
    folder = str(project.root)
    with FilesRead(project.root) as read:
        assert [module.name for module in pkgutil.iter_modules([folder])] == ["package"]
        assert PathFinder.find_spec("package", [folder]) is not None
        assert list(distributions(path=[folder])) == []
    assert read.files() == {}


def test_an_installed_package_counts_by_its_version_and_not_by_when_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_testbed.postgres.sources import import_closure

    site = tmp_path / "site-packages"
    package = site / "package_of_this_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    record = site / "Package_of_this_test-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("package_of_this_test/__init__.py,sha256=a,0\n")
    monkeypatch.syspath_prepend(str(site))
    seeds = tmp_path / "seeds.py"
    seeds.write_text("import package_of_this_test\n")

    before = import_closure([str(seeds)], tmp_path)
    os.utime(package / "__init__.py", (1, 1))
    assert import_closure([str(seeds)], tmp_path) == before
    record.write_text("package_of_this_test/__init__.py,sha256=b,0\n")
    assert import_closure([str(seeds)], tmp_path) != before


@pytest.mark.parametrize("place", ["", "data", "root"])
def test_a_data_file_that_a_module_names_counts_though_it_was_read_before(tmp_path: Path, place: str) -> None:
    from pytest_testbed.postgres.sources import import_closure

    package = tmp_path / "app"
    package.mkdir()
    module = package / "seeds.py"
    module.write_text('from pathlib import Path\nSQL = (Path(__file__).parent / "schema_of_it.sql").read_text()\n')
    file = (tmp_path if place == "root" else package / place) / "schema_of_it.sql"
    file.parent.mkdir(exist_ok=True)
    file.write_text("CREATE TABLE a (x int)")
    before = import_closure([str(module)], tmp_path)
    assert import_closure([str(module)], tmp_path) == before
    file.write_text("CREATE TABLE a (x int, y int)")
    assert import_closure([str(module)], tmp_path) != before
