"""Django's migrations as an entry of the schema, in runs of pytest on a real server."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from tests.conftest import QUIET, Servers, options_for

pytest.importorskip("django")
SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["shop", "plain"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": os.environ["DB_HOST"], "PORT": os.environ["DB_PORT"],
    "NAME": os.environ["DB_NAME"], "USER": os.environ["DB_USER"], "PASSWORD": os.environ["DB_PASSWORD"]}}
"""
FORMS = "".join(
    f"\n    DB_{name}={{pg.{name.lower().replace('name', 'database')}}}" for name in ("HOST", "PORT", "NAME", "USER", "PASSWORD")
)
INI = f"""[pytest]
pythonpath = .
addopts = -p no:django
testbed_pg_schema = pytest_testbed.django:migrate
testbed_env =
    DJANGO_SETTINGS_MODULE=settings{FORMS}
"""
FIRST = """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("User", [("id", models.AutoField(primary_key=True)), ("name", models.TextField())])]
"""
ANOTHER = """
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_first")]
    operations = [migrations.RunSQL("INSERT INTO shop_user (name) VALUES ('%s')")]
"""
MODEL = "from django.db import models\nclass User(models.Model):\n    name = models.TextField()\n"
COUNT = """
import django
django.setup()
from shop.models import User
from plain.models import User as Plain
def test_it():
    assert [user.name for user in User.objects.all()] == %r
    assert Plain.objects.count() == 0
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers) -> Run:
    options = options_for(servers.any_local())
    for name, text in {"settings.py": SETTINGS, "pytest.ini": INI, "shop/models.py": MODEL, "plain/models.py": MODEL}.items():
        write(pytester, name, text)
    for package in ("shop", "plain", "shop/migrations"):
        write(pytester, f"{package}/__init__.py", "")
    write(pytester, "shop/migrations/0001_first.py", FIRST)

    def run(*names: str, ini: str = INI, settings: str = SETTINGS) -> pytest.RunResult:
        write(pytester, "test_it.py", COUNT % list(names))
        write(pytester, "pytest.ini", ini)
        write(pytester, "settings.py", settings)
        return pytester.runpytest_subprocess(*QUIET, *options, "-v")

    return run


def write(pytester: pytest.Pytester, name: str, text: str) -> None:
    path = pytester.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_template_is_made_anew_where_migrations_have_changed(pytester: pytest.Pytester, run: Run) -> None:
    made = "testbed: postgres: template testbed_t_* was made in *"
    run().stdout.fnmatch_lines([made])
    again = run()
    again.assert_outcomes(passed=1)
    again.stdout.no_fnmatch_line(made)
    write(pytester, "shop/migrations/0002_more.py", ANOTHER % "ada")
    run("ada").assert_outcomes(passed=1)
    write(pytester, "shop/migrations/0002_more.py", ANOTHER % "grace")
    run("grace").assert_outcomes(passed=1)
    write(pytester, "plain/models.py", MODEL.replace("name", "other"))
    run("grace").assert_outcomes(passed=1)


def test_an_open_connection_of_the_application_is_not_migrated(pytester: pytest.Pytester, run: Run) -> None:
    write(
        pytester,
        "conftest.py",
        "import django\ndjango.setup()\nfrom django.db import connection\nconnection.ensure_connection()\n",
    )
    run().assert_outcomes(passed=1)


def test_a_database_that_is_not_postgresql(run: Run) -> None:
    other = SETTINGS.partition("DATABASES")[0] + "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x'}}"
    run(settings=other).stdout.fnmatch_lines(["*Django's database 'default' is one of SQLite, not of PostgreSQL*"])


def test_settings_that_nobody_names(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    write(pytester, "test_it.py", "def test_it(): pass")
    write(pytester, "pytest.ini", INI.replace("    DJANGO_SETTINGS_MODULE=settings\n", ""))
    result = pytester.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))
    result.stdout.fnmatch_lines(["*SchemaError*pytest_testbed.django:migrate*", "*Name the settings: DJANGO_SETTINGS_MODULE = *"])


WITH_PYTEST_DJANGO = (
    INI.replace("addopts = -p no:django\n", "")
    .replace("    DJANGO_SETTINGS_MODULE=settings\n", "")
    .replace("pythonpath = .", "pythonpath = .\nDJANGO_SETTINGS_MODULE = settings")
)
MARKED = """
import pytest
from django.db import connection
from shop.models import User

@pytest.mark.django_db
def test_it():
    assert connection.settings_dict["NAME"].startswith("testbed_")
    assert [user.name for user in User.objects.all()] == %r
"""


@pytest.fixture
def with_pytest_django(pytester: pytest.Pytester, servers: Servers, run: Run) -> Run:
    pytest.importorskip("pytest_django")
    write(pytester, "pytest.ini", WITH_PYTEST_DJANGO)

    def run_it(*names: str, **files: str) -> pytest.RunResult:
        write(pytester, "test_it.py", MARKED % list(names))
        for name, text in files.items():
            write(pytester, f"{name}.py", text)
        return pytester.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))

    return run_it


def test_pytest_django_makes_no_database_of_its_own(with_pytest_django: Run) -> None:
    with_pytest_django().assert_outcomes(passed=1)


def test_a_projects_own_setup_goes_on_from_there(with_pytest_django: Run) -> None:
    conftest = """
    import pytest

    @pytest.fixture(scope="session")
    def django_db_setup(django_db_setup, django_db_blocker):
        from shop.models import User
        with django_db_blocker.unblock():
            User.objects.create(name="ada")
    """
    with_pytest_django("ada", conftest=textwrap.dedent(conftest)).assert_outcomes(passed=1)


def test_settings_that_lead_elsewhere(with_pytest_django: Run) -> None:
    """Nothing is made or emptied there."""
    elsewhere = SETTINGS.replace('os.environ["DB_NAME"]', '"shop"')
    result = with_pytest_django(settings=elsewhere)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Django's database 'default' is shop on 127.0.0.1:*, and not the one that is made*"])
