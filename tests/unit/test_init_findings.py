"""What `init` sees in a project, one kind of thing after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_testbed.commands.looking.findings import Findings, look
from pytest_testbed.commands.looking.roles import Role, role
from pytest_testbed.commands.looking.tree import Place
from pytest_testbed.commands.looking.yamltext import Value, values
from tests.init_projects import lay


def seen(path: Path, **files: str) -> Findings:
    """Look at Python files; two underscores in a name are a slash."""
    named = {name.replace("____init__", "/@").replace("__", "/").replace("@", "__init__"): text for name, text in files.items()}
    return look(lay(path, {f"{name}.py": text for name, text in named.items()}))


# --- dependencies


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("requirements.txt", "# first\nSQLAlchemy[asyncio]>=2 ; python_version > '3'\n", 2),
        ("requirements/dev.txt", "-r base.txt\nsqlalchemy\n", 2),
        ("requirements-dev.in", "sqlalchemy==2.0\n", 1),
        ("pyproject.toml", '[project]\ndependencies = [\n  "sqlalchemy>=2",\n]\n', 3),
        ("pyproject.toml", '[project.optional-dependencies]\ndb = ["sqlalchemy"]\n', 2),
        ("pyproject.toml", '[dependency-groups]\ntest = ["sqlalchemy", {include-group = "x"}]\n', 2),
        ("pyproject.toml", '[tool.poetry.dependencies]\npython = "^3.11"\nsqlalchemy = "^2"\n', 3),
        ("pyproject.toml", '[tool.poetry.group.dev.dependencies]\nSQLAlchemy = { version = "^2" }\n', 2),
        ("Pipfile", '[packages]\nsqlalchemy = "*"\n', 2),
        ("setup.cfg", "[options]\ninstall_requires =\n    sqlalchemy>=2\n", 3),
        ("setup.cfg", "[options.extras_require]\ndb =\n    sqlalchemy>=2\n", 3),
        ("setup.py", "from setuptools import setup\nsetup(install_requires=['sqlalchemy>=2'], package_data=[1, name])\n", 2),
        ("tox.ini", "[testenv]\ndeps =\n    sqlalchemy\n", 3),
        ("uv.lock", '[[package]]\nname = "sqlalchemy"\n', 2),
        ("Pipfile.lock", '{"default": {\n"sqlalchemy": {}}}', 2),
    ],
)
def test_dependencies(tmp_path: Path, name: str, text: str, line: int) -> None:
    found = look(lay(tmp_path, {name: text}))

    assert found.dependencies == {"sqlalchemy": Place(name, line)}


def test_a_lock_says_nothing_where_a_project_names_its_dependencies(tmp_path: Path) -> None:
    files = {"requirements.txt": "flask\n", "poetry.lock": '[[package]]\nname = "pika"\n'}

    assert look(lay(tmp_path, files)).dependencies == {"flask": Place("requirements.txt", 1)}


@pytest.mark.parametrize(
    ("name", "text", "place", "why"),
    [
        ("setup.cfg", "a\n[options]\n", Place("setup.cfg", 1), "is no INI file: File contains no section headers."),
        ("Pipfile.lock", "{", Place("Pipfile.lock"), "is no JSON: "),
        ("Pipfile.lock", "[]", None, ""),
        ("Pipfile", "x =\n", Place("Pipfile", 1), "is no TOML: "),
    ],
)
def test_a_file_that_names_dependencies_and_cannot_be_parsed(
    tmp_path: Path, name: str, text: str, place: Place | None, why: str
) -> None:
    found = look(lay(tmp_path, {name: text}))

    assert found.dependencies == {}
    assert list(found.tree.unread) == ([place] if place else [])
    assert all(each.startswith(why) for each in found.tree.unread.values())


# --- names of modules


@pytest.mark.parametrize(
    ("files", "path", "module", "root"),
    [
        (["shop/__init__.py", "shop/db.py"], "shop/db.py", "shop.db", ""),
        (["src/shop/db.py"], "src/shop/db.py", "shop.db", "src"),
        (["src/__init__.py", "src/db.py"], "src/db.py", "src.db", ""),
        (["db.py"], "db.py", "db", ""),
        (["backend/shop/__init__.py", "backend/shop/db.py"], "backend/shop/db.py", "shop.db", "backend"),
    ],
)
def test_modules_by_their_packages(tmp_path: Path, files: list[str], path: str, module: str, root: str) -> None:
    found = look(lay(tmp_path, dict.fromkeys(files, "")))

    assert (found.sources[path].module, found.roots[path]) == (module, root)


def test_modules_of_packages_without_init_by_who_imports_them(tmp_path: Path) -> None:
    found = seen(tmp_path, backend__app__db="", backend__app__users="from app.db import Base", backend__app__other="")

    assert (found.sources["backend/app/db.py"].module, found.roots["backend/app/db.py"]) == ("app.db", "backend")
    assert found.sources["backend/app/other.py"].module == "app.other"


def test_a_module_called_as_what_it_imports(tmp_path: Path) -> None:
    found = seen(tmp_path, app____init__="", app__celery="from celery import Celery\n", app__logging="", app__a="import logging")

    assert found.sources["app/celery.py"].module == "app.celery"
    assert found.sources["app/logging.py"].module == "app.logging"


def test_a_module_called_as_its_package(tmp_path: Path) -> None:
    found = seen(tmp_path, shop____init__="", shop__shop="", tests__test_it="import shop")

    assert (found.sources["shop/shop.py"].module, found.roots["shop/shop.py"]) == ("shop.shop", "")


# --- SQLAlchemy

BASE = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"
MODEL = "class {0}(Base):\n    __tablename__ = '{0}'\n"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (BASE + MODEL.format("User"), "shop.db:Base"),
        (f"from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n{MODEL.format('User')}", "shop.db:Base"),
        (f"import sqlalchemy.orm as o\nBase = o.declarative_base()\n{MODEL.format('User')}", "shop.db:Base"),
        ("import sqlalchemy as sa\nmeta = sa.MetaData()\nusers = sa.Table('users', meta)\n", "shop.db:meta"),
        ("from sqlalchemy.orm import registry\nr = registry()\nBase = r.generate_base()\n" + MODEL.format("A"), "shop.db:Base"),
        ("from flask_sqlalchemy import SQLAlchemy\ndb = SQLAlchemy()\nclass U(db.Model):\n    id = db.Column()\n", "shop.db:db"),
        (f"from flask_sqlalchemy import SQLAlchemy\n{BASE}db = SQLAlchemy(model_class=Base)\n"
         "class U(db.Model):\n    id = db.mapped_column()\n", "shop.db:db"),
        ("from sqlmodel import SQLModel\nclass U(SQLModel, table=True):\n    id: int\n", "shop.db:SQLModel"),
        (f"from sqlalchemy import Table\n{BASE}Table('b', Base.metadata)\nTable('c', of_another)\n", "shop.db:Base"),
        ("from sqlalchemy import MetaData, Table\nmeta: MetaData = MetaData()\nusers = Table('users', meta)\n", "shop.db:meta"),
    ],
)  # fmt: skip
def test_bases(tmp_path: Path, text: str, entry: str) -> None:
    (base,) = seen(tmp_path, shop____init__="", shop__db=text).bases

    assert base.entries == [entry]
    assert base.models == {"shop.db": 1}


def test_models_in_many_modules_are_imported_by_the_one_that_imports_all(tmp_path: Path) -> None:
    found = seen(
        tmp_path,
        shop____init__="",
        shop__db=BASE,
        shop__models____init__="from .users import User\nfrom .orders import Order\n",
        shop__models__users=f"from shop.db import Base\n{MODEL.format('User')}",
        shop__models__orders=f"from ..db import Base\n{MODEL.format('Order')}",
    )

    assert found.bases[0].entries == ["shop.models", "shop.db:Base"]


@pytest.mark.parametrize("text", ["import sqlmodel", "import sqlmodel.main as sqlmodel", "from sqlmodel import main as sqlmodel"])
def test_a_model_of_sqlmodel_by_its_full_name(tmp_path: Path, text: str) -> None:
    text = f"{text}\nclass Other: pass\nclass U(sqlmodel.SQLModel, table=True):\n    id: int\n"
    (base,) = seen(tmp_path, db=text).bases

    assert (base.entries, base.place, base.models) == (["db", "sqlmodel:SQLModel"], Place("db.py", 3), {"db": 1})


def test_models_that_the_package_imports_and_its_base_does_not(tmp_path: Path) -> None:
    found = seen(
        tmp_path,
        shop____init__="from . import users\n",
        shop__base=BASE,
        shop__users=f"from .base import Base\n{MODEL.format('User')}",
        other="import os\n",
    )

    assert found.bases[0].entries == ["shop.base:Base"], "to import a part of a package imports the package"

    found = seen(
        tmp_path,
        shop____init__="",
        shop__models____init__="from . import users\n",
        shop__models__users=f"from ..base import Base\n{MODEL.format('User')}",
        shop__users="",
    )

    assert found.bases[0].entries == ["shop.models.users:Base"]


def test_what_is_imported_for_type_checkers_alone_is_not_imported(tmp_path: Path) -> None:
    found = seen(
        tmp_path,
        db=f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from users import User\n{BASE}",
        users=f"from db import Base\n{MODEL.format('User')}",
    )

    assert found.bases[0].entries == ["users:Base"]


def test_names_that_modules_have_from_each_other(tmp_path: Path) -> None:
    found = seen(tmp_path, one=f"from two import Base\n{MODEL.format('A')}", two="from one import Base\n")

    assert found.bases == []


def test_or_each_is_named(tmp_path: Path) -> None:
    found = seen(
        tmp_path,
        shop____init__="",
        shop__db=BASE,
        shop__users=f"from shop.db import Base\n{MODEL.format('User')}",
        shop__orders="from .db import Base\nclass Common(Base):\n    __abstract__ = True\n    a = Column()\n"
        "class Order(Common):\n    __tablename__ = 'o'\n",
    )

    assert found.bases[0].entries == ["shop.orders", "shop.users", "shop.db:Base"]


def test_several_bases_and_one_without_models(tmp_path: Path) -> None:
    found = seen(
        tmp_path,
        one=BASE + MODEL.format("A") + MODEL.format("B"),
        two=BASE + MODEL.format("C"),
        three=BASE,
        tests__test_it=BASE + MODEL.format("D"),
    )

    assert [base.entry for base in found.bases] == ["one:Base", "two:Base"]


def test_a_metadata_that_a_base_has_is_not_named_beside_it(tmp_path: Path) -> None:
    text = "from sqlalchemy import MetaData, Table\nfrom sqlalchemy.orm import declarative_base\nmeta = MetaData()\n"
    text += f"Base = declarative_base(metadata=meta)\nTable('b', meta)\n{MODEL.format('A')}"

    assert [base.entry for base in seen(tmp_path, db=text).bases] == ["db:Base"]


@pytest.mark.parametrize(
    "text",
    [
        f"{BASE.replace('pass', 'metadata = meta')}Table('b', meta)\n{MODEL.format('A')}",
        f"Base = declarative_base(cls=made(), metadata=meta)\n{MODEL.format('A')}",
    ],
)
def test_a_metadata_of_a_base_is_seen_wherever_it_is_given_to_it(tmp_path: Path, text: str) -> None:
    head = "from sqlalchemy import MetaData, Table\nfrom sqlalchemy.orm import declarative_base\nmeta = MetaData()\n"

    assert [base.entry for base in seen(tmp_path, db=head + text).bases] == ["db:Base"]


def test_what_an_import_runs_on_every_way(tmp_path: Path) -> None:
    text = """
from sqlalchemy import create_engine
if debug:
    a = create_engine("a")
else:
    b = create_engine("b")
try:
    c = create_engine("c")
except ImportError:
    d = create_engine("d")
else:
    e = create_engine("e")
finally:
    f = create_engine("f")
with lock:
    g = create_engine("g")
"""

    assert [each.url for each in seen(tmp_path, db=text).targets] == [*"abcdefg"]


def test_engines_and_session_factories(tmp_path: Path) -> None:
    text = """
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker
URL = "sqlite:///x"
engine = create_engine(URL)
later = create_async_engine("postgresql+asyncpg://a@b/c")
Session = scoped_session(sessionmaker(bind=engine))
def inner():
    other = create_engine("x")
"""
    found = seen(tmp_path, db=text).targets

    assert [(each.entry, each.kind, each.url, each.engine) for each in found] == [
        ("db:engine", "engine", "sqlite:///x", ""),
        ("db:later", "async engine", "postgresql+asyncpg://a@b/c", ""),
        ("db:Session", "scoped session", None, "db.engine"),
    ]


# --- variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os\nx = os.environ['DB_URL']", ("DB_URL", None, True)),
        ("from os import environ\nx = environ['DB_URL']", ("DB_URL", None, True)),
        ("import os\nx = os.environ.get('DB_URL', 'sqlite://')", ("DB_URL", "sqlite://", False)),
        ("import os\ndef f(a, env=os.environ): return env.get('DB_URL', 'x')", ("DB_URL", "x", False)),
        ("from os import environ\ndef f(*, env=environ): return env['DB_URL']", ("DB_URL", None, True)),
        ("from os import getenv\ndef f(): return getenv('DB_URL')", ("DB_URL", None, False)),
        ("from decouple import config\nx = config('DB_URL', default='a')", ("DB_URL", "a", False)),
        ("from decouple import config\nx = config('DB_URL')", ("DB_URL", None, True)),
        ("import environ\nenv = environ.Env()\nx = env('DB_URL')", ("DB_URL", None, True)),
        ("import environ\nenv = environ.Env()\nx = env.db()", ("DATABASE_URL", None, True)),
        ("from environs import Env\nenv = Env()\nx = env.str('DB_URL', default='')", ("DB_URL", "", False)),
        ("import dj_database_url as d\nx = d.config(default='sqlite://')", ("DATABASE_URL", "sqlite://", False)),
        ("from starlette.config import Config\nc = Config()\nx = c('DB_URL', cast=str)", ("DB_URL", None, True)),
        ("from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    db_url: str", ("DB_URL", None, True)),
        (
            "from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    model_config = {'env_prefix': 'A_'}\n"
            "    db_url: str = 'x'",
            ("A_DB_URL", "x", False),
        ),
        (
            "from pydantic import BaseSettings\nclass S(BaseSettings):\n    model_config = {'extra': 'ignore'}\n"
            "    db_url: str\n    class Config:\n        case_sensitive = False\n        env_prefix = 'A_'",
            ("A_DB_URL", None, True),
        ),
        ("from dynaconf import Dynaconf\nc = Dynaconf(envvar_prefix='a')\nx = c.DB.url.strip()", ("A_DB__URL", None, False)),
        ("import dynaconf\nc = dynaconf.Dynaconf(envvar_prefix=False)\nx = c['db_url']", ("DB_URL", None, False)),
        (
            "from dynaconf import Dynaconf\nA = 'a'\nc = Dynaconf(envvar_prefix=A)\nx = c['DB_URL'].strip()",
            ("A_DB_URL", None, False),
        ),
        ("from dynaconf import Dynaconf\nc = Dynaconf(envvar_prefix='')\nx = c.get('DB_URL').strip()", ("DB_URL", None, False)),
        ("from dynaconf import LazySettings\nc = LazySettings()\nx = c.get('DB.URL', 'x')", ("DYNACONF_DB__URL", "x", False)),
        ("import os\nx = os.getenv('DB_URL', f'postgresql://{user}@db')", ("DB_URL", "postgresql://", False)),
        (
            "from pydantic import BaseSettings, Field\nclass S(BaseSettings):\n    url: str = Field(..., env='DB_URL')",
            ("DB_URL", None, True),
        ),
    ],
)
def test_variables(tmp_path: Path, text: str, expected: tuple[str, str | None, bool]) -> None:
    (read,) = seen(tmp_path, a=text).reads

    assert (read.name, read.default, read.is_required) == expected


@pytest.mark.parametrize(
    "text",
    ["environ = {}\nx = environ.get('A_URL')", "config = print\nconfig('A')", "import os\nos.environ['A'] = 'b'"]
    + [f"import environ\nenv = environ.Env()\n{call}" for call in ("env.read_env()", "env.bool('A')", "env()")],
)
def test_what_reads_no_variable(tmp_path: Path, text: str) -> None:
    assert seen(tmp_path, a=text).reads == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("os.environ['DATABASE_URL']", Role("pg", "url")),
        ("os.environ['SQLALCHEMY_DATABASE_URI']", Role("pg", "url")),
        ("os.environ['POSTGRES_SERVER']", Role("pg", "host")),
        ("os.environ['POSTGRES_DB']", Role("pg", "database")),
        ("os.environ['PGPASSWORD']", Role("pg", "password")),
        ("os.environ['RABBITMQ_VHOST']", Role("rabbitmq", "vhost")),
        ("os.environ['CELERY_BROKER_URL']", Role("rabbitmq", "url")),
        ("os.getenv('CELERY_BROKER_URL', 'redis://x')", Role("other", "url")),
        ("os.environ['CELERY_RESULT_BACKEND']", Role("other", "")),
        ("os.environ['REDIS_URL']", Role("other", "url")),
        ("os.environ['MYSQL_HOST']", Role("other", "host")),
        ("os.environ['SMTP_HOST']", Role("mail", "host")),
        ("os.environ['EMAIL_PASSWORD']", None),
        ("os.environ['INVENTORY_URL']", Role("http", "url")),
        ("os.getenv('WHERE', 'amqp://x')", Role("rabbitmq", "url")),
        ("create_engine(os.environ['WHERE'])", Role("pg", "url")),
        ("create_engine(os.environ['WHERE_VHOST'])", Role("pg", "url")),
        ("create_engine(os.environ['WHERE_HOST'])", Role("pg", "host")),
        ("os.environ['BROKER_NAME']", None),
        ("os.environ['SECRET']", None),
        ("os.environ['QUERY_STRING']", None),
    ],
)
def test_what_a_variable_is_for(tmp_path: Path, text: str, expected: Role | None) -> None:
    (read,) = seen(tmp_path, a=f"import os\nfrom sqlalchemy import create_engine\nx = {text}").reads

    assert role(read) == expected


# --- files that are not Python

COMPOSE = """
x-common: &common
  restart: always
services:
  db:
    <<: *common
    image: 'postgres:${TAG:-16}'  # as in production
    environment:
    - POSTGRES_USER=shop
    - DATABASE_URL=postgresql+psycopg://shop@db/shop
    command: postgres -c max_connections=50
    volumes:
      - ./init:/docker-entrypoint-initdb.d
  broker: {image: "ignored:1"}
  mq:
    image: rabbitmq:3.13-management
  metrics:
    image: prometheuscommunity/postgres-exporter
"""


def test_a_compose_file(tmp_path: Path) -> None:
    found = look(lay(tmp_path, {"deploy/docker-compose.yml": COMPOSE}))
    db, broker = found.images

    assert (db.kind, db.name, db.version, db.place.line) == ("postgres", "postgres:16", "16", 7)
    assert db.scripts == [("deploy/init", Place("deploy/docker-compose.yml", 13))]
    assert (db.words, db.variables["POSTGRES_USER"]) == (["postgres", "-c", "max_connections=50"], "shop")
    assert (broker.kind, broker.name, broker.version) == ("rabbitmq", "rabbitmq:3.13-management", "3.13")
    assert [given.name for given in found.given] == ["POSTGRES_USER", "DATABASE_URL"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".github/workflows/test.yml", "jobs:\n  a:\n    services:\n      p:\n        image: postgis/postgis:16-3.4\n"),
        (".gitlab-ci.yml", "test:\n  services:\n    - postgis/postgis:16-3.4\n"),
        (".gitlab-ci.yml", "test:\n  services:\n  - name: postgis/postgis:16-3.4\n    alias: db\n"),
        (
            ".circleci/config.yml",
            "jobs:\n  a:\n    docker:\n      - image: cimg/python:3\n      - image: postgis/postgis:16-3.4\n",
        ),
    ],
)
def test_pipelines(tmp_path: Path, path: str, text: str) -> None:
    (image,) = look(lay(tmp_path, {path: text})).images

    assert (image.name, image.version, image.is_pipeline) == ("postgis/postgis:16-3.4", "16", True)


def test_yaml_as_far_as_it_is_read() -> None:
    text = "a:\n- b: 1\n  c: [x, 'y']\n- d\n\"e\": |\n  no: text\nf: {g: h}\n---\ni: 'it''s'\n"

    assert list(values(text))[:4] == [
        Value(("a", "-", "b"), "1", 2),
        Value(("a", "-", "c", "-"), "x", 3),
        Value(("a", "-", "c", "-"), "y", 3),
        Value(("a", "-"), "d", 4),
    ]


ALIASES = """\
x-env: &env
  POSTGRES_USER: shop
  POSTGRES_DB: "shop"
x-base: &base
  image: postgres:15
  command: [postgres, -c, max_connections=50]
services:
  db:
    <<: *base
    image: &tag postgres:16  # the newest
    environment: *env
  worker:
    image: shop
    environment:
      <<: [*env, *absent]
      DATABASE_URL: postgresql://shop@db/shop
  copy: {image: *tag, environment: {POSTGRES_USER: 'a, b', POSTGRES_DB: other}}
"""


def test_what_aliases_repeat_and_what_stands_in_braces(tmp_path: Path) -> None:
    found = look(lay(tmp_path, {"compose.yml": ALIASES}))

    assert [(image.name, image.place.line) for image in found.images] == [("postgres:15", 5), ("postgres:16", 10)]
    assert found.images[1].variables == {"POSTGRES_USER": "shop", "POSTGRES_DB": "shop"}
    assert found.images[1].words == ["postgres", "-c", "max_connections=50"]
    assert [(each.name, each.value, each.place.line) for each in found.given] == [
        ("POSTGRES_USER", "shop", 2),
        ("POSTGRES_DB", "shop", 3),
        ("POSTGRES_USER", "shop", 2),
        ("POSTGRES_DB", "shop", 3),
        ("DATABASE_URL", "postgresql://shop@db/shop", 16),
        ("POSTGRES_USER", "a, b", 17),
        ("POSTGRES_DB", "other", 17),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {b: 'c, d', e: f}  ", ["a.b=c, d", "a.e=f"]),
        (
            "a: {b: {c: d, e: [f, 'g', {h: i}]}, j: postgres://u:p@h/k}",
            ["a.b.c=d", "a.b.e.-=f", "a.b.e.-=g", "a.b.e.-.h=i", "a.j=postgres://u:p@h/k"],
        ),
        ("a: {b: c} # was {b: d}", ["a.b=c"]),
        ('a: {\'b\': "c", "d": e, }', ["a.b=c", "a.d=e"]),
        ("a: [b, [c, d]]", ["a.-=b", "a.-.-=c", "a.-.-=d"]),
        ("a: {b: c", []),
        ("a: {b, c: d}", []),
        ("a: {b: c} d", []),
        ("a: {b: *c, d: &e f, g: !h i}", []),
        pytest.param(f"a: {'[' * 5000}b{']' * 5000}", [], id="nested too deeply"),
        ("a: {}\nb: []", []),
    ],
)
def test_yaml_in_braces_and_brackets(text: str, expected: list[str]) -> None:
    assert [f"{'.'.join(value.keys)}={value.text}" for value in values(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # its own come before what is merged, wherever that stands
        ("a: &a\n  x: 1\n  y: 2\nb:\n  x: own\n  <<: *a\n", ["a.x=1", "a.y=2", "b.x=own", "b.y=2"]),
        ("a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  x: own\n", ["a.x=1", "a.y=2", "b.y=2", "b.x=own"]),
        # the first of several
        ("a: &a\n  x: 1\nb: &b\n  x: 2\n  y: 2\nc:\n  <<: [*a, *b]\n", ["a.x=1", "b.x=2", "b.y=2", "c.x=1", "c.y=2"]),
        # a mapping of its own takes the place of the whole
        ("a: &a\n  e:\n    x: 1\nb:\n  <<: *a\n  e:\n    y: 2\n", ["a.e.x=1", "b.e.y=2"]),
        # not what follows an anchor
        ("a: &a {}\nb:\n  x: 1\nc: *a\n", ["b.x=1"]),
        ("a:\n- &a\n  x: 1\n- x: 2\nb:\n- *a\n", ["a.-.x=1", "a.-.x=2", "b.-.x=1"]),
        ("a: &a\n- x: 1\n- x: 2\nb: *a\n", ["a.-.x=1", "a.-.x=2", "b.-.x=1", "b.-.x=2"]),
        ("a: &a 1\nb: *a  # the same\nc: *none\n", ["a=1", "b=1"]),
    ],
)
def test_what_aliases_repeat(text: str, expected: list[str]) -> None:
    assert [f"{'.'.join(value.keys)}={value.text}" for value in values(text)] == expected


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 30)]

    assert len(values("\n".join(lines))) < 40_000


def test_settings_of_dynaconf_are_found_where_they_are_used(tmp_path: Path) -> None:
    config = "from dynaconf import Dynaconf\nsettings = Dynaconf(envvar_prefix='SHOP', environments=True)\nsettings.reload()\n"
    db = "from shop import config\nfrom sqlalchemy import create_engine\nengine = create_engine(config.settings.database_url)\n"
    (read,) = seen(tmp_path, **{"shop/__init__": "", "shop/config": config, "shop/db": db}).reads

    assert (read.name, read.place, read.how) == ("SHOP_DATABASE_URL", Place("shop/db.py", 3), "dynaconf")
    assert role(read) == Role("pg", "url")


@pytest.mark.parametrize(
    "text",
    [
        "c = Dynaconf(envvar_prefix=prefix())\nx = c.DB_URL",
        "c = Dynaconf(envvar_prefix='A,B')\nx = c.DB_URL",
        "c = Dynaconf()\nc['DB_URL'] = 'x'\nc.DB_URL = 'x'\nc.set('DB_URL', 'x')\ndel c.DB_URL",
        "c = Dynaconf()\nx = c.get(name)\ny = c[name]\nc.validators.validate()",
    ],
)
def test_what_dynaconf_does_not_read_from_a_variable_that_is_known(tmp_path: Path, text: str) -> None:
    assert seen(tmp_path, a=f"from dynaconf import Dynaconf\n{text}\n").reads == []


def test_a_file_of_variables_may_have_comments(tmp_path: Path) -> None:
    found = look(lay(tmp_path, {".env": "# of the developers\n\nexport A_URL='x'  \nno value\n"}))

    assert [(each.name, each.value, each.place.line) for each in found.given] == [("A_URL", "x", 3)]


def test_settings_of_django(tmp_path: Path) -> None:
    text = "DATABASES = {'default': {'ENGINE': 'x', 'OPTIONS': {}, 'HOST': host(), **more}, 'other': other}\n"
    found = seen(tmp_path, settings=text).django_databases

    assert [(each.alias, each.key, each.text) for each in found] == [
        ("default", "ENGINE", "x"),
        ("default", "HOST", None),
        ("other", "", None),
    ]


@pytest.mark.parametrize(
    ("env", "way"),
    [
        ("u = config.get_main_option('sqlalchemy.url')\ne = create_engine(u)", ""),
        ("e = engine_from_config(config.get_section('alembic'))", "given"),
        ("given = context.config.attributes.get('connection')\ne = create_engine(os.environ['X'])", "given"),
        ("config.set_main_option('sqlalchemy.url', settings.url)\ne = engine_from_config({})", "set"),
        ("c = {}\nc['sqlalchemy.url'] = settings.url\ne = engine_from_config(c)", "set"),
        ("e = create_engine(settings.url)", "own"),
        ("from flask import current_app\ne = current_app.extensions['migrate'].db", "flask"),
    ],
)
def test_how_alembic_gets_its_address(tmp_path: Path, env: str, way: str) -> None:
    head = "import os\nfrom sqlalchemy import create_engine, engine_from_config\nfrom alembic import context\n"
    env = f"{head}config = context.config\n{env}"
    files = {"db/alembic.ini": "[alembic]\nscript_location = %(here)s/steps\n", "db/steps/env.py": env}
    (alembic,) = look(lay(tmp_path, files)).alembics

    assert (alembic.path, alembic.env) == ("db/alembic.ini", "db/steps/env.py")
    assert alembic.way == (way or "own")


@pytest.mark.parametrize(
    ("text", "notes"),
    [("# [alembic]\n[tox]\n", []), ("a\n[alembic]\n", ["is no INI file: File contains no section headers."])],
)
def test_what_is_no_configuration_of_alembic(tmp_path: Path, text: str, notes: list[str]) -> None:
    found = look(lay(tmp_path, {"db/alembic.ini": text}))

    assert found.alembics == []
    assert list(found.tree.unread.values()) == notes


def test_alembic_in_pyproject(tmp_path: Path) -> None:
    files = {"pyproject.toml": '[tool.alembic]\nscript_location = "%(here)s/steps"\n', "steps/env.py": "run()"}
    (alembic,) = look(lay(tmp_path, files)).alembics

    assert (alembic.path, alembic.env, alembic.way) == ("pyproject.toml", "steps/env.py", "")


# --- applications, factories


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("from flask import Flask\napp = Flask(__name__)", ["web:app"]),
        (
            "from fastapi import FastAPI\ndef create_app():\n    app = FastAPI()\n    return app\napp = create_app()",
            ["web:create_app()", "web:app"],
        ),
        ("from flask import Flask\ndef create_app(config):\n    return Flask(__name__)", ["web:create_app()"]),
        ("from starlette.applications import Starlette\nadmin = Starlette()\napp = Starlette()", ["web:app", "web:admin"]),
        ("def create_app():\n    return 1", []),
        ("from flask import Flask\ndef get_app():\n    app = Flask('a')\n    return dict(app=app)\ndef app(): pass", []),
    ],
)  # fmt: skip
def test_applications(tmp_path: Path, text: str, entries: list[str]) -> None:
    assert [each.entry for each in seen(tmp_path, web=text).applications] == entries


def test_factories(tmp_path: Path) -> None:
    text = """
from factory.alchemy import SQLAlchemyModelFactory
class Common(SQLAlchemyModelFactory):
    class Meta:
        abstract = True
        sqlalchemy_session = session
class UserFactory(Common):
    class Meta:
        model = User
class PlainFactory(SQLAlchemyModelFactory):
    class Meta:
        model = User
        sqlalchemy_session = None
"""
    found = seen(tmp_path, tests__factories=text).factories

    assert [(each.name, each.module, each.has_session) for each in found] == [
        ("UserFactory", "factories", True),
        ("PlainFactory", "factories", False),
    ]


# --- what tests do by hand


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("from testcontainers.postgres import PostgresContainer\nPostgresContainer()", "testcontainers"),
        ("import docker\ndocker.from_env().containers.run('postgres')", "docker"),
        ("import subprocess\nsubprocess.run('docker compose up', shell=True)", "docker"),
        ("def test_it(monkeypatch):\n    monkeypatch.setenv('A', 'b')", "set"),
        ("import os\nos.environ['A'] = 'b'", "set"),
    ],
)
def test_what_is_seen_in_tests(tmp_path: Path, text: str, kind: str) -> None:
    assert [hint.kind for hint in seen(tmp_path, tests__test_it=text).hints] == [kind]
    assert seen(tmp_path, tests__test_it="", shop=text).hints == []
