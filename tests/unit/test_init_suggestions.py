"""What `init` suggests for what it has seen."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_testbed.commands.looking.answer import advised
from pytest_testbed.commands.looking.findings import look
from tests.init_projects import APP, BY_HAND, DJANGO, FASTAPI, FLASK, active, lay, said

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


def test_an_environment_of_alembic_with_an_address_of_its_own(tmp_path: Path) -> None:
    files = {name: text for name, text in FLASK.items() if not name.startswith("shop/")}
    lay(tmp_path, {**APP, **files, "shop/db.py": APP["shop/db.py"].replace("os.environ['DATABASE_URL']", "'postgresql://a@b/c'")})
    advice = advised(look(tmp_path))

    assert advice.active("testbed_pg_schema") == ["shop.db:Base"]
    assert advice.by_hand[0].startswith("migrations/env.py:8: to apply migrations, let it take the connection")


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
os.environ["DATABASE_URL"] = "x"
load_dotenv(override=True)
@pytest.fixture(scope="session")
def db_engine():
    subprocess.run(["docker", "compose", "up"])
    time.sleep(5)
    return create_engine("postgresql://shop:a/secret@secret@localhost:5432/shop")
"""


def test_a_conftest_by_hand(tmp_path: Path, capsys: Capture) -> None:
    ini = "[pytest]\nenv =\n    D:DATABASE_URL=postgresql://a\n"
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


def test_django_with_an_address_for_good(tmp_path: Path, capsys: Capture) -> None:
    settings = DJANGO["site_of_shop/settings.py"].replace('os.getenv("SHOP_DB_SERVER", "127.0.0.1")', '"db.invalid"')
    out = said(tmp_path, capsys, {**DJANGO, "site_of_shop/settings.py": settings, "requirements/test.txt": ""})

    assert "site_of_shop/settings.py:9: HOST is 'db.invalid' for good; let it be read from a variable" in out
    assert "pip install pytest-testbed pytest-django" in out


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
        assert max(map(len, out.splitlines()[1:])) <= 120
        assert out.endswith("  python -m pytest\n")
