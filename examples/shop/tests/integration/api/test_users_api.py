"""API: the application on a real port, in a thread, with the database as it really is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests
from sqlalchemy import update
from sqlalchemy.orm import Session

from fixtures.factories import PASSWORD, UserFactory
from pytest_testbed import ApiClient, LiveApp, Mailbox
from shop.models import LoginToken, User

ADA = {"email": "ada@example.com", "name": "Ada Lovelace", "password": "secure123"}


def test_create_user_integration(api_client: ApiClient, mailbox: Mailbox) -> None:
    api_client.login()  # the administrator, as pyproject.toml says

    created = api_client.post("/users", json=ADA).assert_status(201).assert_json({"email": ADA["email"], "name": ADA["name"]})

    api_client.get(f"/users/{created.json()['id']}").assert_status(200).assert_json({"role": "customer"})
    assert "password" not in created.text
    assert "Ada Lovelace, your account is ready" in mailbox.expect(to="ada@example.com", subject="Welcome!").text


def test_user_validation_integration(api_client: ApiClient, mailbox: Mailbox) -> None:
    answer = api_client.post("/users", json={"email": "invalid-email", "name": "", "password": "123"}).assert_status(400)

    assert set(answer.json()["errors"]) == {"email", "name", "password"}
    assert len(mailbox) == 0


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": f"{'a' * 250}@b.de"}, "email"),
        ({"email": "a\0@example.com"}, "email"),
        ({"name": "n" * 101}, "name"),
        ({"name": "Ada\nBcc: all@example.com"}, "name"),
        ({"name": ["Ada"]}, "name"),
        ({"password": "secure\ud800123"}, "password"),
    ],
)
def test_an_invalid_field_is_named(api_client: ApiClient, changed: dict[str, object], field: str) -> None:
    assert list(api_client.post("/users", json=ADA | changed).assert_status(400).json()["errors"]) == [field]


@pytest.mark.parametrize("name", ["山田\u3000太郎", "Zoë\u00a0Müller", "نیما\u200cنیک", "=?utf-8?q?Ada=0aBcc:_all@example.com?="])
def test_a_name_is_as_it_is_written(api_client: ApiClient, mailbox: Mailbox, name: str) -> None:
    """Wide spaces and joiners are in it; and what a mail's header would decode is in the mail's text alone."""
    api_client.post("/users", json=ADA | {"name": name}).assert_status(201).assert_json({"name": name})

    assert f"{name}, your account" in mailbox.expect(to=ADA["email"], subject="Welcome!").text


@pytest.mark.parametrize("body", ["[1]", "null", "{", '"text"'])
def test_a_body_that_is_no_object(api_client: ApiClient, body: str) -> None:
    answer = api_client.post("/users", data=body, headers={"Content-Type": "application/json"})
    assert list(answer.assert_status(400).json()) == ["error"]


def test_an_address_is_taken_once(api_client: ApiClient) -> None:
    api_client.post("/users", json=ADA).assert_status(201)
    api_client.post("/users", json=ADA | {"email": "ADA@example.com"}).assert_status(400).assert_json(
        {"errors": {"email": "is taken"}}
    )


def test_complete_auth_flow(api_client: ApiClient) -> None:
    api_client.get("/users/me").assert_status(401)
    api_client.post("/users", json=ADA).assert_status(201)
    api_client.post("/auth/login", json=ADA | {"password": "secure124"}).assert_status(401)

    api_client.login(email=ADA["email"], password=ADA["password"])

    api_client.get("/users/me").assert_status(200).assert_json({"email": ADA["email"]})


# with `auth_headers`, as `api_client.login()` would log in again where a login has ended


def test_a_logout_ends_a_login(api_client: ApiClient, auth_headers: dict[str, str]) -> None:
    api_client.delete("/auth/login", headers=auth_headers).assert_status(204)

    api_client.get("/users/me", headers=auth_headers).assert_status(401)
    api_client.delete("/auth/login", headers=auth_headers).assert_status(401)


def test_a_login_ends_by_itself(api_client: ApiClient, auth_headers: dict[str, str], pg_session: Session) -> None:
    api_client.get("/users/me", headers=auth_headers).assert_status(200)

    pg_session.execute(update(LoginToken).values(expires_at=datetime.now(UTC)))
    pg_session.commit()

    api_client.get("/users/me", headers=auth_headers).assert_status(401)


def test_a_closed_account_cannot_log_in(api_client: ApiClient, user: User, pg_session: Session) -> None:
    api_client.login(email=user.email, password=PASSWORD)
    api_client.get("/users/me").assert_status(200)

    user.is_active = False
    pg_session.commit()

    api_client.get("/users/me").assert_status(401)  # nor does a login from before help
    api_client.post("/auth/login", json={"email": user.email, "password": PASSWORD}).assert_status(401)


@pytest.mark.usefixtures("pg_session")  # the factories' session
def test_nobody_sees_another_customer(api_client: ApiClient) -> None:
    ada, grace = [api_client.as_user(email=each.email, password=PASSWORD) for each in UserFactory.create_batch(2)]

    own = ada.get("/users/me").json()["id"]

    ada.get(f"/users/{own}").assert_status(200)
    grace.get(f"/users/{own}").assert_status(404)


def test_with_a_client_of_ones_own(live_app: LiveApp, auth_headers: dict[str, str]) -> None:
    """A test that calls the API in its own way needs the address and the header alone."""
    answer = requests.get(f"{live_app.url}/api/users/me", headers=auth_headers, timeout=10)

    assert answer.json()["email"] == "admin@example.com"
