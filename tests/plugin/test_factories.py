"""Factories on the session of a test: whose session, until when, and what is said where there is none."""

from __future__ import annotations

import factory.alchemy  # noqa: F401  it stays loaded: each inner run would import it anew
import pytest

from .conftest import Project

SHOP = """
    import factory
    from factory.alchemy import SQLAlchemyModelFactory
    from sqlalchemy import ForeignKey, create_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

    class Base(DeclarativeBase): pass

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        name: Mapped[str] = mapped_column(default="")

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        user: Mapped[User] = relationship()

    class UserFactory(SQLAlchemyModelFactory):
        class Meta:
            model = User
        id = factory.Sequence(lambda n: n)
        email = factory.Sequence(lambda n: f"user{n}@example.com")
        name = factory.Faker("name")

    class OrderFactory(SQLAlchemyModelFactory):
        class Meta:
            model = Order
        user = factory.SubFactory(UserFactory)

    def new_session():
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        return Session(engine)

    def says(factory, name="sqlalchemy_session"):
        return vars(factory._meta)[name]
"""
CONFTEST = """
    import pytest
    from shop import *

    @pytest.fixture
    def pg_session():
        with new_session() as session:
            yield session

    @pytest.fixture(scope="module")
    def pg_module_session():
        with new_session() as session:
            yield session

    @pytest.fixture(scope="class")
    def pg_class_session():
        with new_session() as session:
            yield session
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with factories, whose fixtures of sessions are its own, so that no server is needed."""
    project.write(shop=SHOP, conftest=CONFTEST)
    project.pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error")
    return project


def passes(shop: Project, tests: str, *args: str, passed: int = 1, apart: bool = False) -> pytest.RunResult:
    """Run tests; `apart` where factories of this process would be in the way."""
    shop.write(test_it="import pytest\nfrom shop import *\n" + tests)
    result = (shop.run_apart if apart else shop.run)(*args)
    result.assert_outcomes(passed=passed)
    return result


# --- whose session


def test_factories_and_those_they_use_are_on_the_session_of_the_test(shop: Project) -> None:
    passes(
        shop,
        """
seen = []
def test_one(pg_session):
    order = OrderFactory(user__name="Ann")
    assert order in pg_session and order.user in pg_session
    assert order.id and not pg_session.new           # flushed
    assert OrderFactory._meta.sqlalchemy_session is pg_session
    seen.append(pg_session)
def test_two(pg_session):
    assert pg_session not in seen
    assert UserFactory() in pg_session
def test_three():
    assert UserFactory._meta.sqlalchemy_session is None
""",
        passed=3,
    )


def test_a_failed_test_leaves_nothing_in_them(shop: Project) -> None:
    shop.write(
        test_it="""
        from shop import *
        def test_fails(pg_session):
            UserFactory()
            assert False
        def test_errors(pg_session, nonsense): pass
        def test_after():
            for each in (UserFactory, OrderFactory):
                assert each._meta.sqlalchemy_session is each._meta.sqlalchemy_session_persistence is each._meta._counter is None
        """
    )
    shop.run().assert_outcomes(failed=1, errors=1, passed=1)


def test_factory_boy_is_as_it_was_after_the_run(shop: Project) -> None:
    from factory.alchemy import SQLAlchemyModelFactory, SQLAlchemyOptions

    before = dict(vars(SQLAlchemyOptions)), dict(vars(SQLAlchemyModelFactory))
    passes(shop, "def test_it(pg_session): assert 'instantiate' in vars(UserFactory._options_class)")
    assert (dict(vars(SQLAlchemyOptions)), dict(vars(SQLAlchemyModelFactory))) == before


def test_classes_that_are_defined_in_a_test_inherit_what_is_written(shop: Project) -> None:
    passes(
        shop,
        """
def test_it(pg_session):
    class Admins(UserFactory):
        name = "admin"
    assert Admins() in pg_session
    assert says(Admins) is None and says(Admins, "sqlalchemy_session_persistence") is None
""",
    )


def test_what_is_shared_is_on_the_session_of_its_scope(shop: Project) -> None:
    passes(
        shop,
        """
@pytest.fixture(scope="module")
def ann(pg_module_session):
    return UserFactory(name="Ann")

@pytest.fixture(scope="class")
def bob(pg_class_session):
    return UserFactory(name="Bob")

def test_shared(ann, pg_module_session):
    assert ann in pg_module_session and UserFactory() in pg_module_session

def test_own(pg_session, ann, pg_module_session):
    assert ann in pg_module_session and UserFactory() in pg_session

class TestAll:
    def test_class(self, bob, ann, pg_class_session, pg_module_session):
        assert bob in pg_class_session and ann in pg_module_session
        assert UserFactory() in pg_class_session
    def test_late(self, request, pg_session):
        assert UserFactory() in pg_session
        assert request.getfixturevalue("late") in request.getfixturevalue("pg_class_session")
        assert UserFactory() in pg_session

@pytest.fixture(scope="class")
def late(pg_class_session):
    return UserFactory()

def test_after_the_class(pg_module_session):
    assert UserFactory() in pg_module_session
""",
        passed=5,
    )


def test_the_session_of_a_module_ends_with_it(shop: Project) -> None:
    shop.write(
        test_a="from shop import *\ndef test_it(pg_module_session): assert UserFactory() in pg_module_session",
        test_b="from shop import *\ndef test_it(): assert UserFactory._meta.sqlalchemy_session is None",
    )
    shop.run().assert_outcomes(passed=2)


def test_a_fixture_in_between_that_makes_rows(shop: Project) -> None:
    passes(
        shop,
        """
@pytest.fixture
def order(pg_session):
    yield OrderFactory()
    assert UserFactory() in pg_session   # at the end, too
def test_it(order, pg_session):
    assert order in pg_session
class TestUnittest(__import__("unittest").TestCase):
    @pytest.fixture(autouse=True)
    def session(self, pg_session):
        self.session = pg_session
    def setUp(self):
        self.user = UserFactory()
    def test_it(self):
        assert self.user in self.session and self.user.id == 0
    def test_again(self):
        with self.subTest("a"):
            assert self.user.id == 0
        with self.subTest("b"):
            assert UserFactory().id == 1
@pytest.mark.usefixtures("pg_session")
class TestMarked:
    @pytest.mark.parametrize("name", ["a", "b"])
    def test_it(self, name):
        assert UserFactory(name=name).id == 0
""",
        passed=5,
    )


def test_what_stands_before_the_session_is_on_it_as_well(shop: Project) -> None:
    passes(
        shop,
        """
def test_without(order_or_error):
    assert "asks for no session" in order_or_error
@pytest.fixture
def order():
    return OrderFactory()
@pytest.fixture
def wide(pg_module_session): pass
@pytest.mark.parametrize("again", range(2))
def test_it(order, wide, pg_session, again):
    assert order in pg_session and order.user.id == 0
@pytest.fixture
def order_or_error():
    with pytest.raises(RuntimeError) as caught:
        OrderFactory()
    return str(caught.value)
""",
        passed=3,
    )


def test_a_session_that_the_project_extends_or_wraps(shop: Project) -> None:
    passes(
        shop,
        """
from sqlalchemy.orm import scoped_session
@pytest.fixture
def pg_session(pg_session):
    pg_session.info["mine"] = True
    return scoped_session(lambda: pg_session)
def test_it(pg_session):
    assert UserFactory() in pg_session and UserFactory._meta.sqlalchemy_session.info["mine"]
""",
    )


def test_what_is_no_session_binds_nothing(shop: Project) -> None:
    passes(
        shop,
        """
@pytest.fixture
def pg_session():
    return "a string"
def test_it(pg_session):
    with pytest.raises(RuntimeError, match="UserFactory has no session to create a User in"):
        UserFactory()
def test_asked(request, pg_session):
    with pytest.raises(pytest.fail.Exception, match="pg_session, which is not ours, gives none of SQLAlchemy"):
        request.getfixturevalue("factories")
""",
        passed=2,
    )


# --- sessions of their own


def test_a_factory_with_a_session_of_its_own_stays_there(shop: Project) -> None:
    passes(
        shop,
        """
other = new_session()
class Audits(UserFactory):
    class Meta:
        sqlalchemy_session = other
class Calls(UserFactory):
    class Meta:
        sqlalchemy_session = None  # factory_boy 3.3.0 wants to see it
        sqlalchemy_session_factory = lambda: other
class Both(UserFactory):
    pass
Both._meta.sqlalchemy_session, Both._meta.sqlalchemy_session_factory = other, lambda: other
class Base_(SQLAlchemyModelFactory):
    class Meta:
        abstract = True
        sqlalchemy_session = other
class Child(Base_):
    class Meta:
        model = User
    email = factory.Sequence(lambda n: f"child{n}@example.com")

def test_it(pg_session, factories):
    for number, each in enumerate((Audits, Calls, Both)):
        made = each(id=100 + number, email=f"{number}@x")
        assert made in other and made not in pg_session
        assert each._meta.sqlalchemy_session_persistence is None
    assert Child() in other and Child().email == "child1@example.com"
    assert factories.bound == ["shop:OrderFactory", "shop:UserFactory"]

def test_their_sequences_go_on(pg_session):
    assert Child().email == "child2@example.com"
""",
        passed=2,
        apart=True,
    )


OWN = """
from shop import *
elsewhere, archive, called = new_session(), new_session(), []
class Own(SQLAlchemyModelFactory):
    class Meta:
        abstract = True
        sqlalchemy_session = elsewhere
        sqlalchemy_session_persistence = "commit"
class Users(Own):
    class Meta:
        model = User
    email = factory.Sequence(lambda n: f"own{n}@example.com")
class Called(SQLAlchemyModelFactory):
    class Meta:
        model = User
        sqlalchemy_session = None  # factory_boy 3.3.0 wants to see it
        sqlalchemy_session_factory = lambda: called.append(1) or elsewhere
    email = "called@example.com"
class Archived(Users):
    class Meta:
        sqlalchemy_session = archive
"""


@pytest.mark.parametrize("said", ["own:Own own:Called", "own"])
def test_those_that_are_named_are_bound_though_they_have_a_session(shop: Project, said: str) -> None:
    shop.write(own=OWN)
    archived = "pg_session" if said == "own" else "archive"
    passes(
        shop,
        f"""
from own import *
def test_it(pg_session):
    assert Users() in pg_session and Called(email="x") in pg_session
    assert Users().email == "own1@example.com"
    assert Archived(email="y") in {archived}
    assert not called
def test_after():
    assert Users._meta.sqlalchemy_session is elsewhere and Called() in elsewhere
""",
        "-o",
        f"testbed_factory_rebind={said}",
        passed=2,
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("own:Usres", "names 'own:Usres', which own does not have; did you mean 'Users'?"),
        ("own:elsewhere", "names 'own:elsewhere', which is no factory_boy factory; there are: *Users*"),
        ("onw:Users", "names 'onw', and there is no module 'onw' on sys.path; did you mean 'own'?*"),
        ("own.deep:Users", "names 'own.deep', and 'own' is a module and not a package."),
        ("own.py", "names 'own.py', and 'own' is a module and not a package. Write 'own', without .py."),
        ("factoryy", "names 'factoryy', and there is no module 'factoryy' on sys.path. If it is *"),
        ("plain", "names 'plain', a module that has no factories."),
        ("broken", "names 'broken', which could not be imported: ZeroDivisionError: division by zero (*broken.py:1)"),
        ("lacks", "names 'lacks', which could not be imported: ModuleNotFoundError: No module named 'nothing_such' (*"),
        ("unread", "names 'unread', which could not be imported: SyntaxError: '(' was never closed (*unread.py:1)"),
        ("skips", "names 'skips', which could not be imported: Skipped: not here (*)"),
        ("script", "names 'script', which could not be imported: SystemExit: 3 (*script.py:1)"),
    ],
)
def test_a_wrong_name_is_refused(shop: Project, said: str, words: str) -> None:
    shop.write(own=OWN, plain="", broken="1 / 0", lacks="import nothing_such", test_it="def test_it(): pass")
    skips = 'import pytest\npytest.skip("not here", allow_module_level=True)'
    shop.write(unread="(", skips=skips, script="raise SystemExit(3)")
    result = shop.run("-o", f"testbed_factory_rebind={said}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_factory_rebind (from -o on the command line) {words}"])


# --- persistence


@pytest.mark.parametrize(("said", "expected"), [("flush", (True, False)), ("commit", (True, True)), ("none", (False, False))])
def test_persistence(shop: Project, said: str, expected: tuple[bool, bool]) -> None:
    passes(
        shop,
        f"""
from sqlalchemy import event
class Said(UserFactory):
    class Meta:
        sqlalchemy_session_persistence = "commit"
def test_it(pg_session):
    commits = []
    event.listen(pg_session, "after_commit", commits.append)
    user = UserFactory()
    assert (user not in pg_session.new, bool(commits)) == {expected}
    commits.clear()
    Said()
    assert commits
""",
        "-o",
        f"testbed_factory_persistence={said}",
    )


def test_a_persistence_that_there_is_not(shop: Project) -> None:
    shop.write(test_it="def test_it(): pass")
    result = shop.run("-o", "testbed_factory_persistence=comit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*testbed_factory_persistence = 'comit' *did you mean 'commit'?"])


@pytest.mark.parametrize("persistence", ["flush", "commit"])
def test_get_or_create_undoes_nothing_else(shop: Project, persistence: str) -> None:
    passes(
        shop,
        """
class ByName(SQLAlchemyModelFactory):
    class Meta:
        model = User
        sqlalchemy_get_or_create = ("name",)
    email = "ann@example.com"
    name = "nobody"
class ByEmail(UserFactory):
    class Meta:
        sqlalchemy_get_or_create = ("email", "name")

def test_it(pg_session):
    first = UserFactory(email="ann@example.com", name="Ann")
    assert ByName(name="Ann") is first
    with pytest.raises(Exception, match="UNIQUE"):
        ByName()                                       # a new name, and an address that is taken
    assert pg_session.query(User).one() is first       # and what was done before is there
    assert first.name == "Ann"
    assert ByEmail(email="ann@example.com") is first   # the conflict is with what the call has named
    other = ByName(name="Bob", email="bob@example.com")
    assert other.id and pg_session.query(User).count() == 2
""",
        "-o",
        f"testbed_factory_persistence={persistence}",
    )


# --- sequences


def test_sequences_begin_anew_with_each_test(shop: Project) -> None:
    passes(
        shop,
        """
class Children(UserFactory):
    name = "child"
@pytest.mark.parametrize("again", range(2))
def test_it(pg_session, again):
    assert [UserFactory().id, Children().id, UserFactory.build().id] == [0, 1, 2]
    UserFactory.reset_sequence(7)
    assert Children.build().id == 7
    with pytest.raises(ValueError, match="descendant"):
        Children.reset_sequence()
    UserFactory.reset_sequence()
    assert UserFactory.build().id == 0
""",
        passed=2,
    )


def test_sequences_go_on_after_the_rows_of_wider_scopes(shop: Project) -> None:
    passes(
        shop,
        """
@pytest.fixture(scope="module", autouse=True)
def rows(pg_module_session):
    return UserFactory.create_batch(3)
@pytest.mark.parametrize("again", range(2))
def test_first(pg_session, again):
    assert UserFactory().id == 3
@pytest.fixture(scope="class")
def more(pg_class_session):
    return UserFactory()
@pytest.mark.usefixtures("more")
class TestMore:
    @pytest.mark.parametrize("again", range(2))
    def test_it(self, again, pg_session):
        assert [UserFactory().id, UserFactory().id] == [4, 5]
def test_last(pg_session):
    assert UserFactory().id == 3
def test_wide():
    assert UserFactory().id == 3
def test_wide_again():  # the project's own session keeps what a test has done
    assert UserFactory().id == 4
""",
        passed=7,
    )


def test_each_worker_has_numbers_of_its_own(shop: Project) -> None:
    shop.write(
        conftest=CONFTEST
        + """
    from pytest_testbed.plugin import WORKER
    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(config):
        config.stash[WORKER] = "gw3"
    """
    )
    passes(
        shop,
        """
class Numbered(SQLAlchemyModelFactory):
    class Meta:
        model = User
    id = factory.Sequence(lambda n: n)
    @classmethod
    def _setup_next_sequence(cls):
        return 5
def test_it(pg_session):
    assert [UserFactory().id, UserFactory().id] == [3_000_000, 3_000_001]
    assert Numbered.build().id == 5
def test_again(pg_session):
    assert UserFactory().id == 3_000_000
def test_no_session():
    assert UserFactory.build().id == 3_000_000
""",
        passed=3,
    )


def test_tests_without_a_session_count_on_among_themselves(shop: Project) -> None:
    passes(
        shop,
        """
seen = []
def test_one(): seen.append(UserFactory.build().id)
def test_two(pg_session): assert UserFactory().id == 0
def test_three():
    assert seen + [UserFactory.build().id] == [0, 1]
""",
        passed=3,
    )


def test_a_session_that_the_project_sets_by_hand_moves_no_later_sequence(shop: Project) -> None:
    passes(
        shop,
        """
UserFactory.build()  # what may be used by any test moves them
@pytest.fixture(scope="session")
def wide(): return UserFactory.build()
@pytest.fixture
def by_hand():
    with new_session() as session:
        for each in (UserFactory, OrderFactory):
            each._meta.sqlalchemy_session, each._meta.sqlalchemy_session_persistence = session, "flush"
        yield session
        for each in (UserFactory, OrderFactory):
            each._meta.sqlalchemy_session = each._meta.sqlalchemy_session_persistence = None
@pytest.mark.parametrize("again", range(2))
def test_by_hand(by_hand, again): assert OrderFactory().user in by_hand
def test_it(pg_session): assert UserFactory().id == 1
def test_what_the_session_has(wide, pg_session): assert [wide.id, UserFactory().id] == [1, 2]
""",
        passed=4,
    )


def test_a_factory_that_says_where_it_begins(shop: Project) -> None:
    passes(
        shop,
        """
class Numbered(SQLAlchemyModelFactory):
    class Meta:
        model = User
    id = factory.Sequence(lambda n: n)
    email = factory.Sequence(lambda n: f"{n}@x")
    @classmethod
    def _setup_next_sequence(cls):
        last = cls._meta.sqlalchemy_session.query(User).order_by(User.id.desc()).first()
        return (last.id if last else 100) + 1
def test_it(pg_session):
    assert Numbered().id == 101
def test_rows(pg_session):
    UserFactory(id=500)
    assert [Numbered().id, Numbered().id] == [501, 502]
""",
        passed=2,
    )


def test_a_conflict_of_numbers_is_explained(shop: Project) -> None:
    passes(
        shop,
        """
from sqlalchemy.exc import IntegrityError
def test_it(pg_session):
    pg_session.add(User(id=0, email="seed@example.com"))
    pg_session.flush()
    with pytest.raises(IntegrityError) as caught:
        UserFactory()
    assert caught.value.__notes__[0].startswith("UserFactory.id is a Sequence: it knows neither rows that were there before")
""",
    )


# --- no session


def test_what_is_said_without_a_session(shop: Project) -> None:
    shop.write(
        deep="""
        from shop import *
        class AddressFactory(factory.Factory):
            class Meta:
                model = dict
            order = factory.SubFactory(OrderFactory)
        class Related(SQLAlchemyModelFactory):
            class Meta:
                model = dict
                sqlalchemy_session = new_session()
            order = factory.RelatedFactory(OrderFactory)
            @classmethod
            def _create(cls, model_class, **values):
                return model_class(**values)
        """
    )
    passes(
        shop,
        """
from deep import *
from pytest_testbed import FactoryError
def test_path():
    with pytest.raises(FactoryError) as caught:
        OrderFactory()
    assert str(caught.value) == (
        "OrderFactory.user → UserFactory: UserFactory has no session to create a User in. test_it.py::test_path (call) asks for "
        "no session: add pg_session (pg_async_session, factories) to its arguments, or mark it with "
        "@pytest.mark.usefixtures('pg_session'). OrderFactory.build() makes one without a database."
    )
    with pytest.raises(FactoryError, match=r"^AddressFactory\\.order → OrderFactory\\.user → UserFactory: "):
        AddressFactory()
    with pytest.raises(FactoryError, match=r"^Related\\.order → OrderFactory\\.user → UserFactory: "):
        Related()
    with pytest.raises(FactoryError, match=r"^UserFactory: UserFactory has no"):
        UserFactory.create_batch(2)

@pytest.fixture(scope="session")
def wide():
    with pytest.raises(FactoryError) as caught:
        UserFactory()
    return str(caught.value)
def test_fixture(wide, pg_session):
    assert "was called in the session fixture 'wide': let that ask for pg_module_session, and give it the scope of a" in wide

def test_build():
    assert OrderFactory.build().user.email and UserFactory.stub().email
""",
        passed=3,
    )


def test_what_is_said_outside_of_tests(shop: Project) -> None:
    shop.write(test_it="from shop import *\nUserFactory()")
    result = shop.run_apart()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*FactoryError: UserFactory: UserFactory has no session to create a User in. No test is running: *"]
    )


def test_a_factory_that_creates_in_its_own_way(shop: Project) -> None:
    passes(
        shop,
        """
class Own(UserFactory):
    @classmethod
    def _create(cls, model_class, *args, **values):
        return ("made", values["email"])
def test_it():
    assert Own() == ("made", "user0@example.com")
""",
    )


def test_without_postgres_factories_say_so(shop: Project) -> None:
    shop.write(conftest="", test_it="def test_it(factories): pass")
    result = shop.run("-p", "no:pytest_testbed.plugins.postgres")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*FactoryError: factories need a session, and there is no fixture pg_session: PostgreSQL is *"])


# --- factories, the fixture


def test_factories(shop: Project) -> None:
    passes(
        shop,
        """
import pytest_testbed
class Mine(UserFactory): pass
def test_it(factories):
    assert isinstance(factories, pytest_testbed.Factories)
    order = factories.create(OrderFactory, user__name="Ann")
    assert order in factories.session and order.user.name == "Ann"
    assert [each.id for each in factories.create_batch("shop:UserFactory", 2)] == [1, 2]
    assert factories["Order"] is factories["OrderFactory"] is OrderFactory
    assert factories.bound == ["shop:OrderFactory", "shop:UserFactory", "test_it:Mine"]
    assert repr(factories) == "<Factories on pg_session>"
    for name, words in {
        "User": "factories['User'] may be any of shop:UserFactory, test_it:Mine; name one of them.",
        "UserFactroy": "no loaded factory is called 'UserFactroy', and none makes such a model; did you mean 'UserFactory'?",
        "x": "no loaded factory is called 'x', and none makes such a model; there are: Mine, OrderFactory, UserFactory.",
    }.items():
        with pytest.raises(pytest_testbed.FactoryError) as caught:
            factories[name]
        assert str(caught.value) == words
    factories.reset_sequences(40)
    assert UserFactory().id == 40
    factories.reset_sequences()
    assert UserFactory.build().id == 0
def test_whose(factories, pg_session, pg_module_session):
    assert factories.session is pg_session
def test_wide(pg_module_session, factories):
    assert factories.session is pg_module_session
""",
        passed=3,
        apart=True,
    )


# --- late


def test_factory_boy_that_is_imported_while_a_test_runs(shop: Project) -> None:
    """As in a run of its own: here it stays loaded."""
    shop.write(
        conftest="""
        import sys
        import pytest
        @pytest.fixture
        def pg_session():
            from sqlalchemy import create_engine
            from sqlalchemy.orm import Session
            assert "factory" not in sys.modules
            with Session(create_engine("sqlite://")) as session:
                yield session
        """,
        test_it="""
        def test_it(pg_session):
            from shop import Base, UserFactory
            Base.metadata.create_all(pg_session.get_bind())
            user = UserFactory()
            assert user in pg_session and user.id == 0
            names.append(user.name)
        names = []
        def test_unbound():
            import pytest
            from shop import UserFactory
            with pytest.raises(RuntimeError, match="test_it.py::test_unbound .call. asks for no session"):
                UserFactory()
        """,
    )
    shop.run_apart("--testbed-seed=1").assert_outcomes(passed=2)


@pytest.mark.fresh_interpreter  # a prepared one has SQLAlchemy
def test_what_nobody_uses_is_not_imported(shop: Project) -> None:
    """A run with sessions and without factories."""
    shop.write(
        conftest="""
        import sys
        import pytest
        @pytest.fixture
        def pg_session(): return None
        """,
        test_it="""
        import sys
        def test_it(pg_session):
            assert "pytest_testbed.factory_binding" in sys.modules
            assert not {"factory", "faker", "sqlalchemy", "pytest_testbed.factories.patch"} & set(sys.modules)
        """,
    )
    shop.run_apart().assert_outcomes(passed=1)


def test_switched_off_nothing_of_it_happens(shop: Project) -> None:
    shop.write(
        test_it="""
        import pytest
        from shop import *
        def test_it(pg_session):
            with pytest.raises(RuntimeError, match="No session provided"):
                UserFactory()
        def test_plugins(request):
            plugins = request.config.pluginmanager
            assert not any("factory" in str(name) for name, _ in plugins.list_name_plugin())
            with pytest.raises(pytest.FixtureLookupError):
                request.getfixturevalue("factories")
        """
    )
    off = "no:pytest_testbed.plugins.factories"
    result = shop.run_apart("-p", off, "-o", "testbed_factory_modules=nonsense", "-o", "testbed_factory_rebind=nonsense")
    result.assert_outcomes(passed=2)
