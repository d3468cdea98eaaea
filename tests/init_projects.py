"""Projects as people have them, for the tests of `python -m pytest_testbed init`: red without the lines that it suggests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_testbed.commands.line import main
from pytest_testbed.commands.looking.answer import advised
from pytest_testbed.commands.looking.findings import look
from pytest_testbed.commands.looking.printing import lines_to_add

__all__ = ["APP", "BY_HAND", "DJANGO", "FASTAPI", "FLASK", "active", "lay", "paste", "said"]

APP = {
    "shop/__init__.py": "",
    "shop/db.py": "import os\nfrom sqlalchemy import create_engine\nfrom sqlalchemy.orm import DeclarativeBase\n"
    "engine = create_engine(os.environ['DATABASE_URL'])\nclass Base(DeclarativeBase): pass\n"
    "class User(Base):\n    __tablename__ = 'users'\n",
}


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def paste(root: Path) -> str:
    """Put what is suggested for a project where it is said to go, and return it."""
    seen = look(root)
    lines = lines_to_add(seen, advised(seen))
    config = seen.config
    path = root / config.path
    there = path.read_text(encoding="utf-8").splitlines() if config.is_there else []
    there[config.line or len(there) : config.line or len(there)] = lines.splitlines()
    path.write_text("\n".join(there) + "\n", encoding="utf-8")
    return lines


def said(path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str] | None = None) -> str:
    """Return what is printed for a project; nothing else may be, and nothing may have been written."""
    lay(path, files or {})
    before = {each: each.lstat().st_mtime_ns for each in path.rglob("*")}
    assert main(["init", str(path)]) == 0
    assert {each: each.lstat().st_mtime_ns for each in path.rglob("*")} == before
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def active(path: Path, key: str) -> list[str]:
    """Return the entries of a key that would count."""
    return advised(look(path)).active(key)


# Flask-SQLAlchemy with Alembic, whose environment takes the address by itself; settings in tox.ini
FLASK = {
    "requirements.txt": "flask-sqlalchemy>=3.1\nalembic\npsycopg2-binary\npytest\n",
    "tox.ini": "[tox]\nenvlist = py311\n\n[pytest]\naddopts = -ra\n",
    "shop/__init__.py": """
import os

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()


class User(db.Model):
    __tablename__ = "users"
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String, nullable=False, unique=True)


def create_app(config=None):
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "postgresql+psycopg2://shop@127.0.0.1:1/shop")
    db.init_app(app)

    @app.post("/users")
    def register():
        db.session.add(User(email=request.json["email"]))
        db.session.commit()
        return {"users": User.query.count()}, 201

    return app
""",
    "alembic.ini": "[alembic]\nscript_location = %(here)s/migrations\n",
    "migrations/env.py": """
from alembic import context
from sqlalchemy import engine_from_config, pool

from shop import create_app, db

config = context.config
config.set_main_option("sqlalchemy.url", create_app().config["SQLALCHEMY_DATABASE_URI"].replace("%", "%%"))
with engine_from_config(config.get_section("alembic"), poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=db.metadata)
    with context.begin_transaction():
        context.run_migrations()
""",
    "migrations/versions/0001_users.py": """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade():
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("email", sa.Text, nullable=False))


def downgrade():
    op.drop_table("users")
""",
    "tests/test_users.py": """
import pytest

from shop import create_app


@pytest.mark.parametrize("turn", [1, 2])
def test_registering(turn):
    answer = create_app().test_client().post("/users", json={"email": "ada@example.com"})
    assert answer.json == {"users": 1}
""",
}

# FastAPI on an asynchronous engine, its address from a class of settings; settings of pytest in its own TOML table
FASTAPI = {
    "pyproject.toml": """
[project]
name = "shop"
version = "1"
dependencies = ["fastapi", "sqlalchemy[asyncio]", "asyncpg", "pydantic-settings", "httpx"]

[tool.pytest]
testpaths = ["tests"]
""",
    "src/shop/__init__.py": "",
    "src/shop/settings.py": """
from pydantic import PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_file=".env")

    database_url: PostgresDsn
    debug: bool = False


settings = Settings()
""",
    "src/shop/db.py": """
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import NullPool

from .settings import settings

engine = create_async_engine(str(settings.database_url), poolclass=NullPool)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass
""",
    "src/shop/models.py": """
from sqlalchemy.orm import Mapped, mapped_column

from .db import Base


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
""",
    "src/shop/main.py": """
from fastapi import FastAPI
from sqlalchemy import func, select

from shop.db import Session
from shop.models import User

app = FastAPI()


@app.post("/users", status_code=201)
async def register(email: str) -> int:
    async with Session.begin() as session:
        session.add(User(email=email))
        await session.flush()
        return await session.scalar(select(func.count()).select_from(User))
""",
    "tests/test_api.py": """
import pytest
from fastapi.testclient import TestClient

from shop.main import app


@pytest.mark.parametrize("turn", [1, 2])
def test_registering(turn):
    with TestClient(app) as client:
        assert client.post("/users", params={"email": "ada@example.com"}).json() == 1
""",
}

# A conftest by hand on the database of a compose file; no settings of pytest at all
BY_HAND = {
    "requirements-dev.txt": "-r requirements.txt\nsqlalchemy==2.*\npsycopg2-binary\npytest  # of course\n",
    "compose.yaml": """
services:
  db:
    image: "postgres:16-alpine"
    command: ["postgres", "-c", "fsync=off"]
    environment:
      POSTGRES_USER: shop
      POSTGRES_PASSWORD: hush
    volumes:
      - ./db/init.sql:/docker-entrypoint-initdb.d/init.sql:ro
""",
    "db/init.sql": "CREATE ROLE reader;\n",
    "shop/__init__.py": "",
    "shop/base.py": "from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n",
    "shop/users.py": """
from sqlalchemy import Column, Integer, Text

from .base import Base


class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    name = Column(Text, nullable=False)
""",
    "tests/conftest.py": """
import os

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from shop.base import Base
from shop.users import User


@pytest.fixture(scope="session")
def engine():
    engine = create_engine(os.getenv("DATABASE_URL", "postgresql+psycopg2://shop:hush@localhost:1/shop"))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def db_session(engine):
    session = sessionmaker(bind=engine)()
    session.execute(text("DELETE FROM users"))
    yield session
    session.close()
""",
    "tests/test_users.py": """
import pytest

from shop.users import User


@pytest.mark.parametrize("turn", [1, 2])
def test_one(db_session, turn):
    db_session.add(User(name="ada"))
    db_session.commit()
    assert db_session.query(User).count() == 1
""",
}

DJANGO = {
    "requirements/base.txt": "django>=5\npsycopg2-binary\n",
    "requirements/test.txt": "pytest-django\n",
    "setup.cfg": "[flake8]\nmax-line-length = 100\n\n[tool:pytest]\naddopts = -ra\n",
    "manage.py": """
import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_shop.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
""",
    "site_of_shop/__init__.py": "",
    "site_of_shop/settings.py": """
import os

SECRET_KEY = "of the tests"
INSTALLED_APPS = ["customers"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.getenv("SHOP_DB_SERVER", "127.0.0.1"),
        "PORT": int(os.getenv("SHOP_DB_SERVER_PORT", "5432")),
        "NAME": os.getenv("SHOP_DB", "shop"),
        "USER": os.environ.get("SHOP_DB_ACCOUNT", "shop"),
        "PASSWORD": os.environ.get("SHOP_DB_SECRET"),
    }
}
""",
    "customers/__init__.py": "",
    "customers/models.py": """
from django.db import models


class Customer(models.Model):
    email = models.TextField()
""",
    "customers/migrations/__init__.py": "",
    "customers/migrations/0001_initial.py": """
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Customer", [("id", models.AutoField(primary_key=True)), ("email", models.TextField())])
    ]
""",
    "tests/test_customers.py": """
import pytest


@pytest.mark.django_db
@pytest.mark.parametrize("turn", [1, 2])
def test_one(turn):
    from customers.models import Customer

    Customer.objects.create(email="ada@example.com")
    assert Customer.objects.count() == 1
""",
}
