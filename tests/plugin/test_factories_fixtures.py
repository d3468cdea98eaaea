"""`testbed_factory_modules`: fixtures of what factories make."""

from __future__ import annotations

import factory.alchemy  # noqa: F401  it stays loaded: each inner run would import it anew
import pytest

from .conftest import Project
from .test_factories import CONFTEST, SHOP

MORE = """
    import factory
    class OrderItemFactory(factory.DictFactory):
        size = 1
    class HTTPCallFactory(factory.DictFactory):
        pass
    class Things(factory.DictFactory):
        pass
    class AbstractFactory(factory.Factory):
        class Meta:
            abstract = True
    class RequestFactory(factory.DictFactory): pass
    class CacheFactory(factory.DictFactory): pass
"""


@pytest.fixture
def made(project: Project) -> Project:
    project.write(shop=SHOP, more=MORE, conftest=CONFTEST)
    project.pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error\ntestbed_factory_modules = shop more")
    return project


def test_they_are_of_the_database_where_what_they_make_is(made: Project) -> None:
    made.write(
        test_it="""
        def test_row(user): pass
        def test_class(order_factory): pass
        def test_dictionary(order_item): pass
        """
    )
    result = made.run("--collect-only", "-q", "-m", "integration and database")
    result.stdout.fnmatch_lines(["test_it.py::test_row", "test_it.py::test_class", "*2/3 tests collected (1 deselected)*"])


def test_what_factories_make_and_they_themselves_are_fixtures(made: Project) -> None:
    made.write(
        test_it="""
        import pytest
        from shop import *
        def test_it(user, order, user_factory, pg_session):
            assert user in pg_session and order in pg_session
            assert user_factory is UserFactory
            assert user_factory() in pg_session
        def test_alone(user):
            assert user.id == 0
        def test_class(order_factory):
            assert order_factory().user.id == 0
        def test_names(order_item, http_call, things, things_factory, request_factory, cache, request):
            assert order_item == {"size": 1} and http_call == things == things_factory() == {}
            assert type(cache).__name__ == "Cache" and request.node.name == "test_names"
            with pytest.raises(pytest.FixtureLookupError):
                request.getfixturevalue("abstract")
        """
    )
    made.run("-p", "cacheprovider").assert_outcomes(passed=4)


def test_a_fixture_of_the_project_comes_first(made: Project) -> None:
    made.write(
        conftest=CONFTEST + "\n    @pytest.fixture\n    def user():\n        return 'of the conftest'\n",
        plugs="import pytest\n@pytest.fixture(name='things')\ndef whatever(): return 'of a plugin'",
        test_it="""
        import pytest
        @pytest.fixture
        def order(order):
            return [order]
        def test_it(user, things, order):
            assert user == "of the conftest" and things == "of a plugin" and order[0].id
        """,
    )
    made.run("-p", "plugs").assert_outcomes(passed=1)


def test_conftests_may_extend_them(made: Project) -> None:
    made.write(
        conftest=CONFTEST
        + """
    @pytest.fixture
    def user(user):
        return [user]
    @pytest.fixture
    def order(user, order):
        return [*user, order]
""",
        test_it="def test_it(user): assert [each.id for each in user] == [0]",
    )
    folder = made.pytester.mkdir("inner")
    (folder / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef order(order): return [*order, 'inner']")
    (folder / "test_in.py").write_text(
        "def test_in(order, user, pg_session): assert order[0] is user[0] and order[2:] == ['inner']"
    )
    made.run().assert_outcomes(passed=2)


def test_they_are_listed_and_explained(made: Project) -> None:
    result = made.run("--fixtures")
    result.stdout.fnmatch_lines(
        ["*fixtures defined from shop*", "user_factory -- *", "*The class shop:UserFactory, on the session *"]
    )
    result.stdout.fnmatch_lines(["user -- *", "*What shop:UserFactory makes, on the session of the test."])
    assert "user_factory" not in made.run("--fixtures", "-o", "testbed_factory_modules=").stdout.str()


def test_modules_beside_the_tests_are_found_without_a_conftest(made: Project) -> None:
    folder = made.pytester.mkdir("checks")
    (folder / "things.py").write_text("import factory\nclass BoxFactory(factory.DictFactory): pass")
    (folder / "test_box.py").write_text(
        "import things\ndef test_it(box, box_factory): assert box == {} and box_factory is things.BoxFactory"
    )
    made.pytester.makeini("[pytest]\ntestbed_factory_modules = things")
    made.run("checks").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("shopp", "names 'shopp', and there is no module 'shopp' on sys.path; did you mean 'shop'?*"),
        ("plain", "names 'plain', a module that has no factories that make anything."),
        ("broken", "names 'broken', which could not be imported: NameError: name 'nonsense' is not defined (*broken.py:1)"),
        ("shop twice", "shop:UserFactory and twice:UserFactory would both make the fixture 'user'. Rename one of them*"),
    ],
)
def test_a_wrong_module_is_refused(made: Project, said: str, words: str) -> None:
    made.write(plain="", broken="nonsense", twice=SHOP, test_it="def test_it(): pass")
    result = made.run("-o", f"testbed_factory_modules={said}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_factory_modules (from -o on the command line)*{words}"])


def test_in_a_worker_each_test_fails_with_what_is_wrong(made: Project) -> None:
    """The controller imports nothing of the project."""
    made.write(test_it="def test_a(): pass\ndef test_b(): pass")
    result = made.run_apart("-p", "xdist", "-n1", "-o", "testbed_factory_modules=shopp", "-o", "testbed_factory_rebind=own:X")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*testbed_factory_modules (from -o on the command line) names 'shopp'*did you mean 'shop'?*"])


def test_what_is_no_name_of_a_module(made: Project) -> None:
    result = made.run("-o", "testbed_factory_modules=shop/factories.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*holds 'shop/factories.py', which is not the name of a module, such as tests.factories*"])


def test_where_pytest_factoryboy_is_the_fixtures_are_left_to_it(made: Project) -> None:
    made.write(
        pytest_factoryboy="",
        test_it="""
        import sys
        def test_it(request):
            assert "shop" in sys.modules
            assert not request.config.pluginmanager.hasplugin("pytest_testbed.factory_fixtures.made")
        """,
    )
    result = made.run("-p", "pytest_factoryboy")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["testbed: fixtures of testbed_factory_modules are left to pytest-factoryboy; *"])
