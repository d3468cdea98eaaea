"""The guide's chapter on REST APIs: users are made and refused over HTTP, by an application on a real port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from pytest_testbed import ApiClient, LiveApp

from . import web
from .accounts import AuthenticationService
from .models import User

ADMIN = {"email": "admin@example.com", "password": "admin123"}
NEW = {"email": "integration@example.com", "name": "Integration Test User", "password": "secure123"}


@pytest.fixture(autouse=True)
def admin(pg_sessionmaker: sessionmaker[Session], pg_session: Session) -> Iterator[None]:
    """Let the application work in this test's transaction, and one who may log in."""
    web.Sessions.configure(bind=pg_sessionmaker.kw["bind"])
    AuthenticationService(pg_session).register(**ADMIN, name="Admin")
    yield
    web.Sessions.configure(bind=None)


def test_a_user_is_created(live_app: LiveApp, auth_headers: dict[str, str], pg_session: Session) -> None:
    """As the guide writes it: with requests alone, and the headers of a fixture."""
    base_url = f"{live_app.url}/api"
    response = requests.post(f"{base_url}/users", json=NEW, headers=auth_headers, timeout=5)
    assert response.status_code == 201
    created = response.json()
    assert (created["email"], created["name"]) == (NEW["email"], NEW["name"])
    assert requests.get(f"{base_url}/users/{created['id']}", headers=auth_headers, timeout=5).status_code == 200
    assert pg_session.scalars(select(User.name).where(User.email == NEW["email"])).one() == NEW["name"]


def test_invalid_data_are_refused_field_by_field(live_app: LiveApp, auth_headers: dict[str, str]) -> None:
    invalid = {"email": "invalid-email", "name": "", "password": "123"}
    response = requests.post(f"{live_app.url}/api/users", json=invalid, headers=auth_headers, timeout=5)
    assert response.status_code == 400
    assert response.json()["errors"].keys() == {"email", "name", "password"}


def test_the_same_with_the_client(api_client: ApiClient) -> None:
    api_client.login()
    created = api_client.post("/users", json=NEW).assert_status(201).assert_json({"email": NEW["email"]}).json()
    api_client.get(f"/users/{created['id']}").assert_status(200).assert_json({"name": NEW["name"]})
    api_client.post("/users", json=NEW).assert_status(400).assert_json({"errors": {"email": "is taken"}})


def test_who_is_not_logged_in_may_nothing(api_client: ApiClient) -> None:
    api_client.post("/users", json=NEW).assert_status(401)


def test_the_authentication_flow(api_client: ApiClient) -> None:
    api_client.login()
    api_client.post("/users", json=NEW).assert_status(201)
    api_client.as_user(email=NEW["email"], password=NEW["password"]).get("/me").assert_json({"email": NEW["email"]})
    api_client.get("/me").assert_json({"email": ADMIN["email"]})
