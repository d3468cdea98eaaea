"""What `init` suggests for what it has seen."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_testbed.commands.looking.answer import advised
from pytest_testbed.commands.looking.findings import look
from tests.init_projects import APP, BY_HAND, DJANGO, FASTAPI, FLASK, active, lay, paste, said

Capture = pytest.CaptureFixture[str]
ENV = "DATABASE_URL={pg.url+psycopg2}"


def test_everything_is_a_comment_or_toml(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys, {**FASTAPI, "src/shop/other.py": "from fastapi import FastAPI\nside = FastAPI()\n"})
    block = out.partition("(line 7):\n\n")[2].partition("\n\n")[0]

    assert tomllib.loads(block) == {
        "pythonpath": ["src"],
        "testbed_env": ["SHOP_DATABASE_URL={pg.url+asyncpg}"],
        "testbed_pg_schema": ["shop.models:Base"],
        "testbed_app": "shop.main:app",
    }
    assert '# testbed_app = "shop.other:side"' in block
    assert 'pip install "pytest-testbed[asgi,async,httpx]"' in out


@pytest.mark.parametrize(
    ("default", "requirements", "form"),
    [
        ("", "psycopg2-binary", "{pg.url+psycopg2}"),
        ("", "psycopg[binary]", "{pg.url+psycopg}"),
        (", 'postgresql+psycopg_async://a@b/c'", "psycopg2", "{pg.url+psycopg_async}"),
        (", 'postgresql://a@b/c'", "psycopg", "{pg.url+psycopg}"),
        (", 'sqlite:///dev.db'", "psycopg2", "{pg.url+psycopg2}"),
    ],
)
def test_the_driver_of_an_address(tmp_path: Path, default: str, requirements: str, form: str) -> None:
    lay(tmp_path, {"requirements.txt": requirements})
    lay(tmp_path, {"db.py": f"import os, sqlalchemy\nengine = sqlalchemy.create_engine(os.getenv('URL'{default}))\n"})

    assert active(tmp_path, "testbed_env") == [f"URL={form}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import os, psycopg2\npsycopg2.connect(os.environ['WHERE'])\n", "WHERE={pg.url}"),
        ("import os, sqlalchemy\nsqlalchemy.create_engine(os.environ['WHERE'])\n", "WHERE={pg.url+psycopg2}"),
        ("import environ\nenv = environ.Env()\nx = env.db('SHOP_DB')\n", "SHOP_DB={pg.url}"),
        ("from environs import env\nx = env.dj_db_url('SHOP_URL')\n", "SHOP_URL={pg.url}"),
        ("import dj_database_url as dj\nx = dj.config('SHOP')\n", "SHOP={pg.url}"),
    ],
)
def test_an_address_has_the_form_that_its_reader_takes(tmp_path: Path, text: str, line: str) -> None:
    lay(tmp_path, {"db.py": text, "requirements.txt": "sqlalchemy\npsycopg2\n"})

    assert active(tmp_path, "testbed_env") == [line]


@pytest.mark.parametrize(
    ("requirements", "driver", "extras"),
    [("psycopg", ["psycopg"], {"psycopg"}), ("asyncpg", [], {"async"}), ("psycopg\nasyncpg", [], {"psycopg", "async"})],
)
def test_the_driver_of_an_asynchronous_engine(tmp_path: Path, requirements: str, driver: list[str], extras: set[str]) -> None:
    text = "from sqlalchemy.ext.asyncio import create_async_engine\nengine = create_async_engine('postgresql://a@b/c')\n"
    lay(tmp_path, {"db.py": text, "requirements.txt": requirements})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_async_driver") == driver
    assert advice.extras.keys() == extras


def test_an_address_of_another_database_is_left_as_a_comment(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys, {"a.py": "import os\nURL = os.getenv('DATABASE_URL', 'sqlite:///dev.db')\n"})

    assert "# a.py:2: its default is an address of sqlite; does it run on PostgreSQL?\n# testbed_env = DATABASE_URL=" in out


def test_parts_of_an_address_of_another_database_are_left_as_comments(tmp_path: Path) -> None:
    lay(tmp_path, {"a.py": "import os\nhost = os.environ['DB_HOST']\n", "requirements.txt": "PyMySQL\n"})
    line = advised(look(tmp_path)).lines["testbed_env"]

    assert [(each.text, each.is_active) for each in line.entries] == [("DB_HOST={pg.host}", False)]
    assert "the project has pymysql and no driver for PostgreSQL" in line.entries[0].reason


def test_a_bound_engine_where_no_variable_is_read(tmp_path: Path) -> None:
    text = APP["shop/db.py"].replace("os.environ['DATABASE_URL']", "'postgresql://shop@db/shop'")
    lay(
        tmp_path,
        {**APP, "shop/db.py": text, "shop/old.py": "import sqlalchemy\nengine = sqlalchemy.create_engine('mysql://a:b@c')\n"},
    )
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_bind") == ["shop.db:engine"]
    assert advice.undecided == ["shop/old.py:2: the engine leads to mysql://a:***@c; it was left out of testbed_pg_bind."]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (APP, True),
        ({**APP, "pytest.ini": "[pytest]\ntestbed_pg_isolation = database\n"}, False),
        (DJANGO, False),
        ({"a.py": "import os, pika\nqueue = pika.URLParameters(os.environ['QUEUE'])\n"}, False),
    ],
    ids=["address", "decided", "django", "broker"],
)
def test_an_address_is_said_to_turn_rollbacks_into_commits(
    tmp_path: Path, capsys: Capture, files: dict[str, str], told: bool
) -> None:
    out = said(tmp_path, capsys, files)

    assert "testbed_env = " in out or "testbed_env =\n" in out
    assert ("# With an address tests commit for real" in out) == told


def test_an_environment_of_alembic_with_an_address_of_its_own(tmp_path: Path) -> None:
    files = {name: text for name, text in FLASK.items() if not name.startswith("shop/")}
    lay(tmp_path, {**APP, **files, "shop/db.py": APP["shop/db.py"].replace("os.environ['DATABASE_URL']", "'postgresql://a@b/c'")})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_schema") == ["shop.db:Base"]
    assert advice.by_hand[0].startswith("migrations/env.py:8: to apply migrations, let it take the connection")


@pytest.mark.parametrize(
    ("way", "env", "reason"),
    [
        ("set", "config.set_main_option('sqlalchemy.url', url)", "migrations/env.py:4 takes the address that testbed_env sets"),
        ("given", "engine_from_config(config.get_section('alembic'))", ""),
        ("not there", None, "its env.py was not found"),
    ],
)
def test_alembic_beside_an_address_in_a_variable(tmp_path: Path, way: str, env: str | None, reason: str) -> None:
    lay(tmp_path, {**APP, "alembic.ini": "[alembic]\nscript_location = migrations\n"})
    if env is not None:
        head = "from alembic import context\nfrom sqlalchemy import engine_from_config\nconfig = context.config\n"
        lay(tmp_path, {"migrations/env.py": head + env})
    advice = advised(look(tmp_path))
    first = advice.lines["testbed_pg_schema"].entries[0]

    assert (first.text, first.is_active) == ("alembic.ini", True)
    assert first.reason == "; ".join(["alembic.ini: Alembic's migrations", *filter(None, [reason])])
    assert advice.active("testbed_pg_schema") == ["alembic.ini"], "models are not made beside migrations"


def test_an_sql_file_that_is_called_as_a_schema(tmp_path: Path) -> None:
    lay(tmp_path, {"db/structure.sql": "", "schema.sql": "", "other.sql": ""})
    entries = advised(look(tmp_path)).lines["testbed_pg_schema"].entries

    assert [(each.text, each.is_active) for each in entries] == [("schema.sql", True), ("db/structure.sql", False)]


def test_a_factory_of_the_application_that_wants_parameters(tmp_path: Path) -> None:
    lay(tmp_path, {"web.py": "from flask import Flask\ndef create_app(config, *, debug):\n    return Flask('a')\n"})
    (entry,) = advised(look(tmp_path)).lines["testbed_app"].entries

    assert (entry.text, entry.is_active) == ("web:create_app()", False)
    assert entry.reason.endswith("it wants config, debug, so write a function without parameters that calls it")


def test_sql_files(tmp_path: Path) -> None:
    compose = "services:\n  db:\n    image: postgres\n    volumes: ['./sql:/docker-entrypoint-initdb.d:ro']\n"
    lay(tmp_path, {"compose.yml": compose, "sql/1.sql": "CREATE TABLE a ();", "sql/2.sql": "create user a;", "sql/3.sh": ""})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_schema") == ["sql/1.sql"]
    assert "runs sql/3.sh" in advice.undecided[0]


def test_parts_of_an_address(tmp_path: Path) -> None:
    settings = """
from pydantic_settings import BaseSettings
class Settings(BaseSettings):
    POSTGRES_SERVER: str
    POSTGRES_PORT: int = 5432
    POSTGRES_DB: str = "app"
    SQLALCHEMY_DATABASE_URI: str | None = None
"""
    lay(tmp_path, {"settings.py": settings})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_env") == ["POSTGRES_SERVER={pg.host}", "POSTGRES_PORT={pg.port}", "POSTGRES_DB={pg.database}"]
    assert "put together from the others" in advice.lines["testbed_env"].entries[-1].reason
    assert advice.undecided[0].startswith("No variable was seen for the database's user, password,")


def test_flask_migrate(tmp_path: Path) -> None:
    env = "from alembic import context\nfrom flask import current_app\nengine = current_app.extensions['migrate'].db.engine\n"
    files = {name: text for name, text in FLASK.items() if name.startswith("shop/")}
    lay(tmp_path, {**files, "migrations/alembic.ini": "[alembic]\n", "migrations/env.py": env})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_schema") == ["shop:db"]
    assert "migrations/env.py:3 asks Flask's current application" in advice.lines["testbed_pg_schema"].entries[0].reason


def test_steps_of_migrations_are_no_part_of_the_application(tmp_path: Path) -> None:
    step = "import os\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\ndown_revision = '1'\n"
    lay(
        tmp_path,
        {**APP, "steps/a_1.py": f"{step}URL = os.environ['OLD_DATABASE_URL']\nclass A(Base):\n    __tablename__ = 'a'\n"},
    )
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_schema") == ["shop.db:Base"]
    assert advice.active("testbed_env") == [ENV]


@pytest.mark.parametrize(
    ("image", "active_ones", "comment"),
    [
        ("postgres:18", [], ""),
        ("postgres", [], ""),
        ("redis:7", [], ""),
        ("docker.io/library/postgres:16", ["docker.io/library/postgres:16"], "compose.yml:3: the image that is used there"),
        ("pgvector/pgvector:pg17", ["pgvector/pgvector:pg17"], "other providers have not what it adds"),
    ],
)
def test_images(tmp_path: Path, image: str, active_ones: list[str], comment: str) -> None:
    lay(tmp_path, {"compose.yml": f"services:\n  db:\n    image: {image}\n"})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_image") == active_ones
    assert not comment or comment in advice.lines["testbed_pg_image"].entries[0].reason


def test_a_pipeline_with_another_image_is_the_second_choice(tmp_path: Path, capsys: Capture) -> None:
    pipeline = "jobs:\n  a:\n    services:\n      p:\n        image: postgres:15\n"
    compose = "services:\n  db:\n    image: postgres:16\n"
    out = said(tmp_path, capsys, {".github/workflows/a.yml": pipeline, "compose.yml": compose})

    assert "\ntestbed_pg_image = postgres:16\n# .github/workflows/a.yml:5: " in out
    assert "\n# testbed_pg_image = postgres:15\n" in out


def test_how_a_server_is_started_elsewhere_is_shown(tmp_path: Path, capsys: Capture) -> None:
    compose = """
services:
  db:
    image: postgres
    command: postgres -c fsync=off -c work_mem=8MB
    environment:
      POSTGRES_INITDB_ARGS: --locale=C
"""
    out = said(tmp_path, capsys, {"compose.yml": compose, "pytest.ini": "[pytest]\n"})

    where = "compose.yml:4: what the server is started with there"
    assert f"\n# testbed_pg_args =\n#     # {where}\n#     -c fsync=off\n#     # {where}\n#     -c work_mem=8MB\n" in out
    assert "\n# compose.yml:4: POSTGRES_INITDB_ARGS\n# testbed_pg_initdb_args = --locale=C\n" in out

    out = said(tmp_path, capsys, {"pytest.toml": "[pytest]\n"})

    assert (
        f'\n# testbed_pg_args = [\n#     # {where}\n#     "-c fsync=off",\n#     # {where}\n#     "-c work_mem=8MB",\n# ]\n'
        in out
    )
    assert '\n# testbed_pg_initdb_args = ["--locale=C"]\n' in out


def test_a_list_of_several_entries_in_toml(tmp_path: Path, capsys: Capture) -> None:
    settings = "import os\nhost, port = os.environ['DB_HOST'], os.environ['DB_PORT']\n"
    compose = "services:\n  a:\n    environment:\n      OLD_URL: postgresql://a@b/c\n"
    out = said(tmp_path, capsys, {"a.py": settings, "compose.yml": compose, "pytest.toml": "[pytest]\n"})
    block = out.partition("(line 1):\n\n")[2].partition("\n\n")[0]

    assert tomllib.loads(block) == {"testbed_env": ["DB_HOST={pg.host}", "DB_PORT={pg.port}"]}
    assert '\n    # "OLD_URL={pg.url}",\n' in block
    assert "Not decided:\n  No variable was seen for the database's user, password, database, and all differ" in out


def test_factories_with_a_session_of_their_own(tmp_path: Path) -> None:
    one = "class {}Factory(f.SQLAlchemyModelFactory):\n    class Meta:\n        model = 1\n        sqlalchemy_session = 2\n"
    text = f"import factory.alchemy as f\n{one.format('A')}{one.format('B')}"
    lay(tmp_path, {"made.py": text})
    line = advised(look(tmp_path)).lines["testbed_factory_rebind"]

    assert [(each.text, each.is_active) for each in line.entries] == [("made", False)]


def test_settings_in_the_folder_of_the_tests(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys, {**APP, "tests/pytest.ini": "[pytest]\n", "tests/test_a.py": ""})

    assert "tests/pytest.ini counts where pytest is called for that folder alone" in " ".join(out.split())
    assert "Save this as pytest.ini" in out


def test_nothing_sure(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys, {"compose.yml": "services:\n  a:\n    environment:\n      DATABASE_URL: postgresql://a@b/c\n"})

    assert "Nothing is sure enough to be added. What may be, in pytest.ini:" in out
    assert "# compose.yml:4: set there; no code was seen to read it\n# testbed_env = DATABASE_URL={pg.url}\n" in out


@pytest.mark.parametrize(
    ("dependencies", "form"),
    [("sqlalchemy", "{pg.url+psycopg2}"), ("sqlalchemy\npsycopg", "{pg.url+psycopg}"), ("psycopg", "{pg.url}")],
)
def test_an_address_in_a_test_is_to_have_the_driver_of_the_project(
    tmp_path: Path, capsys: Capture, dependencies: str, form: str
) -> None:
    test = "import shop\nshop.connect('postgresql://shop@localhost/shop')\n"
    out = said(tmp_path, capsys, {"requirements.txt": dependencies, "tests/test_a.py": test})

    assert f"(DATABASE_URL={form})" in " ".join(out.split())


OTHERS = """
import os, requests, pika, smtplib
queue = pika.URLParameters(os.environ["QUEUE"])
smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]))
requests.get(os.environ["INVENTORY_SERVICE_URL"])
requests.get(os.getenv("PAYMENT_URL", "https://pay.example.com/v1/"))
link = os.environ["FRONTEND_URL"]
"""


def test_broker_mail_and_other_services(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys, {"a.py": OTHERS})

    assert active(tmp_path, "testbed_env") == [
        "QUEUE={rabbitmq.url}",
        "SMTP_HOST={mail.host}",
        "SMTP_PORT={mail.port}",
        "INVENTORY_SERVICE_URL={mock.inventory.url}",
    ]
    assert "    # PAYMENT_URL={mock.payment.url}/v1\n" in out
    assert "FRONTEND_URL" not in out
    assert 'pip install "pytest-testbed[mail]"' in out


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://pay.example.com/api/v1/", "/api/v1"),
        ("https://hooks.example.com/services/T0AB/s3CRET", ""),
        ("https://api.example.com/bot123:s3CRET/send", ""),
        ("https://[HOST]/api", ""),
    ],
)
def test_the_path_of_an_address_is_taken_if_it_is_no_secret(tmp_path: Path, capsys: Capture, address: str, path: str) -> None:
    out = said(
        tmp_path, capsys, {"a.py": "import os, requests\nrequests.post(os.environ['CHAT_URL'])\n", ".env": f"CHAT_URL={address}"}
    )

    assert active(tmp_path, "testbed_env") == [f"CHAT_URL={{mock.chat.url}}{path}"]
    assert "s3CRET" not in out


@pytest.mark.parametrize("name", ["API_2_URL", "FRONTEND_URL", "BASE_URL"])
def test_an_address_that_no_mock_service_is_suggested_for(tmp_path: Path, name: str) -> None:
    lay(tmp_path, {"a.py": f"import os, requests\nrequests.get(os.environ['{name}'])\n"})

    assert "testbed_env" not in advised(look(tmp_path)).lines


def test_a_mail_server_whose_port_is_no_variable(tmp_path: Path) -> None:
    lay(tmp_path, {"a.py": "import os, smtplib\nsmtplib.SMTP(os.environ['SMTP_HOST'], 25)\n"})
    advice = advised(look(tmp_path))
    (entry,) = advice.lines["testbed_env"].entries

    assert (entry.text, entry.is_active) == ("SMTP_HOST={mail.host}", False)
    assert entry.reason.endswith("; the port must come from a variable, too")
    assert "mail" not in advice.extras


@pytest.mark.parametrize(
    ("library", "page", "extras"),
    [("pika", {"rabbitmq"}, set()), ("aio-pika", {"rabbitmq-async"}, {"async"}), ("kombu", set(), set())],
)
def test_a_broker_whose_address_stands_in_the_source(tmp_path: Path, library: str, page: set[str], extras: set[str]) -> None:
    text = "name = 'x'\nurl = 'amqp://guest:guest@mq:5672/'\n"
    lay(tmp_path, {"requirements.txt": library, "a.py": text, "tests/test_a.py": text})
    advice = advised(look(tmp_path))

    (told,) = advice.by_hand
    assert told.startswith("a.py:2: the broker's address stands in the source; let it be read from RABBITMQ_URL")
    assert (advice.pages.keys(), advice.extras.keys()) == (page, extras)


def test_where_other_services_are_mocked_already(tmp_path: Path) -> None:
    lay(tmp_path, {"a.py": OTHERS, "requirements.txt": "responses\n"})

    assert "INVENTORY_SERVICE_URL={mock.inventory.url}" not in active(tmp_path, "testbed_env")


def test_factories_levels_and_the_address_of_the_application(tmp_path: Path) -> None:
    factory = "import factory.alchemy as f\nclass AFactory(f.SQLAlchemyModelFactory):\n    class Meta:\n        model = A\n"
    test = "import os\nURL = os.environ.get('BASE_URL', 'http://localhost:8000/api')\n"
    lay(tmp_path, {"web.py": "from flask import Flask\napp = Flask('a')\n", "tests/factories.py": factory})
    lay(tmp_path, {"tests/functional/test_a.py": test, "tests/unit/test_b.py": "", "tests/end_to_end/test_c.py": ""})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_factory_modules") == ["factories"]
    assert advice.active("testbed_level_folders") == ["e2e: tests/end_to_end", "integration: tests/functional"]
    assert advice.active("testbed_env") == ["BASE_URL={app.url}/api"]


CONFTEST = """
import os, subprocess, time
import pytest
from dotenv import load_dotenv
from sqlalchemy import create_engine
from testcontainers.postgres import PostgresContainer
os.environ["DATABASE_URL"] = "x"; os.environ["OTHER"] = "x"
load_dotenv(override=True)
@pytest.fixture(scope="session")
def db_engine():
    subprocess.run(["docker", "compose", "up"])
    time.sleep(5)
    return create_engine("postgresql://shop:a/secret@secret@localhost:5432/shop")
"""


@pytest.mark.parametrize("flags", ["", "D:", "R:D:"])
def test_a_conftest_by_hand(tmp_path: Path, capsys: Capture, flags: str) -> None:
    ini = f"[pytest]\nenv =\n    OTHER=x\n    {flags}DATABASE_URL=postgresql://a\n"
    out = said(
        tmp_path, capsys, {**APP, "tests/conftest.py": CONFTEST, "pytest.ini": ini, "requirements.txt": "pytest-postgresql"}
    )

    for text in (
        "tests/conftest.py:7: sets DATABASE_URL itself, which undoes the line of testbed_env",
        "tests/conftest.py:8: load_dotenv(override=True) undoes",
        "pytest.ini:2: pytest-env sets DATABASE_URL, too",
        "tests/conftest.py:13: an address stands there, such as postgresql://shop:***@localhost:5432/shop.",
        "let it be read from a variable that testbed_env sets (DATABASE_URL={pg.url+psycopg2})",
        "tests/conftest.py:12: sleeps",
        "    @pytest.fixture\n    def db_engine(pg_engine):\n        return pg_engine\n",
        "docs/how-to/coming-from-testcontainers.md (tests/conftest.py:11",
        "docs/how-to/coming-from-pytest-postgresql.md (requirements.txt:1: pytest-postgresql)",
    ):
        assert text in out
    assert "secret" not in out
    assert "sets OTHER" not in out


def test_django_with_an_address_for_good(tmp_path: Path, capsys: Capture) -> None:
    settings = DJANGO["site_of_shop/settings.py"].replace('os.getenv("SHOP_DB_SERVER", "127.0.0.1")', '"db.invalid"')
    out = said(tmp_path, capsys, {**DJANGO, "site_of_shop/settings.py": settings, "requirements/test.txt": ""})

    assert "site_of_shop/settings.py:9: HOST is 'db.invalid' for good; let it be read from a variable" in out
    assert "pip install pytest-testbed pytest-django" in out


def test_django_on_another_database(tmp_path: Path) -> None:
    settings = "import os\nDATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}\n"
    lay(tmp_path, {"settings.py": settings})
    advice = advised(look(tmp_path))

    assert advice.undecided == [
        "settings.py:2: the database is django.db.backends.sqlite3. Tests on PostgreSQL need ENGINE "
        "'django.db.backends.postgresql'."
    ]
    assert advice.by_hand == []


def test_django_with_variables_whose_names_say_nothing(tmp_path: Path) -> None:
    settings = "import os\nDATABASES = {'default': {'ENGINE': 'postgresql', 'HOST': os.environ['WHERE']}}\n"
    lay(tmp_path, {"settings.py": settings})

    assert active(tmp_path, "testbed_env") == ["WHERE={pg.host}"]


def test_an_application_of_django_is_no_suggestion(tmp_path: Path) -> None:
    lay(tmp_path, {"wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"})
    (entry,) = advised(look(tmp_path)).lines["testbed_app"].entries

    assert (entry.text, entry.is_active) == ("wsgi:application", False)
    assert entry.reason.endswith("; pytest-django has a client and a live server of its own")


def test_settings_of_django_that_pytest_has_already(tmp_path: Path, capsys: Capture) -> None:
    ini = "[pytest]\nDJANGO_SETTINGS_MODULE = site_of_shop.settings_of_tests\n"
    out = said(tmp_path, capsys, {**DJANGO, "pytest.ini": ini})

    assert "DJANGO_SETTINGS_MODULE" not in out
    assert "pytest_testbed.django:migrate" in out


def test_django_without_a_database_that_is_called_default(tmp_path: Path) -> None:
    lay(tmp_path, {"settings.py": "DATABASES = {**common, 'other': {'ENGINE': 'django.db.backends.postgresql'}}\n"})

    line = advised(look(tmp_path)).lines["testbed_pg_schema"]
    assert [(each.text, each.reason) for each in line.entries] == [
        ("pytest_testbed.django:migrate", "settings.py:1: Django's migrations, once")
    ]


@pytest.mark.parametrize("name", ["production", "prod_eu"])
def test_settings_of_production_are_no_suggestion(tmp_path: Path, name: str) -> None:
    text = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings.{}')\n"
    lay(tmp_path, {"wsgi.py": text.format(name)})
    assert active(tmp_path, "DJANGO_SETTINGS_MODULE") == []

    lay(tmp_path, {"deep/er/manage.py": text.format("local")})
    assert active(tmp_path, "DJANGO_SETTINGS_MODULE") == ["site.settings.local"]


def test_a_project_of_every_kind_reads_well(tmp_path: Path, capsys: Capture) -> None:
    """No line is longer than a terminal that is wide enough for code."""
    for name, files in {"flask": FLASK, "hand": BY_HAND, "django": DJANGO, "fastapi": FASTAPI}.items():
        out = said(tmp_path / name, capsys, files)
        assert paste(tmp_path / name) in out, "what other tests put into the file is what is shown"
        assert max(map(len, out.splitlines()[1:])) <= 120
        assert out.endswith("  python -m pytest\n")
