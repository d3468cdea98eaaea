"""The chapter "Database Integration Testing" of the guide, and its bulk insert."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, delete, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from .models import EmailTaken, User, UserRepository


class TestUserRepository:
    def test_create_and_retrieve_user(self, user_repo: UserRepository, pg_sessionmaker: sessionmaker[Session]) -> None:
        created = user_repo.create_user(email="test@example.com", name="Test User")

        # a session of its own, so that the answer comes from the database and not from the identity map
        with pg_sessionmaker() as elsewhere:
            retrieved = UserRepository(elsewhere).get_user_by_id(created.id)
            assert retrieved is not None
            assert retrieved is not created
            assert (retrieved.email, retrieved.name) == ("test@example.com", "Test User")

    def test_email_is_unique(self, user_repo: UserRepository) -> None:
        user_repo.create_user(email="duplicate@example.com", name="User 1")
        with pytest.raises(IntegrityError, match="users_email_key"):
            user_repo.create_user(email="duplicate@example.com", name="User 2")

    def test_the_application_goes_on_after_a_duplicate(self, user_repo: UserRepository) -> None:
        user_repo.register(email="duplicate@example.com", name="User 1")
        with pytest.raises(EmailTaken):
            user_repo.register(email="duplicate@example.com", name="User 2")
        user_repo.register(email="other@example.com", name="User 2")
        assert user_repo.count() == 2

    def test_it_is_a_real_postgresql(self, database_session: Session) -> None:
        assert str(database_session.scalar(text("SELECT version()"))).startswith("PostgreSQL ")


@pytest.mark.parametrize("time_", ["first", "second"])
class TestCleanSlate:
    """Every test begins with an empty table, without a DELETE; each of these would fail after the other."""

    def test_after_commits(self, user_repo: UserRepository, time_: str) -> None:
        assert user_repo.count() == 0
        user_repo.create_user(email="same@example.com", name=time_)
        assert user_repo.count() == 1

    def test_after_commits_of_others(self, pg_engine: Engine, user_repo: UserRepository, time_: str) -> None:
        assert user_repo.count() == 0
        with Session(pg_engine) as session, session.begin():
            session.add(User(email="same@example.com", name=time_))
        with pg_engine.begin() as connection:
            connection.execute(text("INSERT INTO users (email, name) VALUES ('more@example.com', :name)"), {"name": time_})
        assert user_repo.count() == 2

    def test_after_an_error(self, user_repo: UserRepository, time_: str) -> None:
        assert user_repo.count() == 0
        user_repo.create_user(email="same@example.com", name=time_)
        with pytest.raises(IntegrityError):
            user_repo.create_user(email="same@example.com", name=time_)

    def test_the_old_way_of_cleaning_up_does_no_harm(self, database_session: Session, time_: str) -> None:
        database_session.execute(delete(User))
        database_session.commit()
        UserRepository(database_session).create_user(email="same@example.com", name=time_)

    @pytest.mark.pg(isolation="database")
    def test_with_real_commits(self, user_repo: UserRepository, time_: str) -> None:
        assert user_repo.count() == 0
        user_repo.create_user(email="same@example.com", name=time_)


class TestBulkInsert:
    @pytest.mark.budget(queries=1_010, seconds=5)  # seconds: the guide's own, which also a slow machine keeps
    def test_one_commit_for_each_of_1000(self, user_repo: UserRepository) -> None:
        for number in range(1000):
            user_repo.create_user(email=f"user{number}@example.com", name=f"User {number}")
        assert user_repo.count() == 1000

    @pytest.mark.budget(queries=20)
    def test_1000_at_once(self, user_repo: UserRepository, database_session: Session) -> None:
        user_repo.import_users(User(email=f"user{number}@example.com", name=f"User {number}") for number in range(1000))
        assert user_repo.count() == 1000
        assert set(database_session.scalars(select(User.email))) == {f"user{number}@example.com" for number in range(1000)}

    def test_all_or_nothing(self, user_repo: UserRepository, database_session: Session) -> None:
        users = [User(email=f"user{number}@example.com", name="") for number in range(1000)]
        users.append(User(email="user500@example.com", name="a second time"))
        with pytest.raises(IntegrityError):
            user_repo.import_users(users)
        database_session.rollback()
        assert user_repo.count() == 0
