"""API: the application on a real port, in a thread, with the database as it really is."""

from __future__ import annotations

import requests

from pytest_testbed import ApiClient, LiveApp, Mailbox

ADA = {"email": "ada@example.com", "name": "Ada Lovelace", "password": "secure123"}


def test_create_user_integration(api_client: ApiClient, mailbox: Mailbox) -> None:
    api_client.login()  # the administrator, as pyproject.toml says

    created = api_client.post("/users", json=ADA).assert_status(201).assert_json({"email": ADA["email"], "name": ADA["name"]})

    api_client.get(f"/users/{created.json()['id']}").assert_status(200).assert_json({"role": "customer"})
    assert "password" not in created.text
    assert "account is ready" in mailbox.expect(to="ada@example.com", subject="Welcome, Ada Lovelace!").text


def test_user_validation_integration(api_client: ApiClient, mailbox: Mailbox) -> None:
    answer = api_client.post("/users", json={"email": "invalid-email", "name": "", "password": "123"}).assert_status(400)

    assert set(answer.json()["errors"]) == {"email", "name", "password"}
    assert len(mailbox) == 0


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


def test_nobody_sees_another_customer(api_client: ApiClient) -> None:
    for name in ("ada", "grace"):
        api_client.post("/users", json=ADA | {"email": f"{name}@example.com"}).assert_status(201)
    ada = api_client.as_user(email="ada@example.com", password=ADA["password"])
    grace = api_client.as_user(email="grace@example.com", password=ADA["password"])

    own = ada.get("/users/me").json()["id"]

    ada.get(f"/users/{own}").assert_status(200)
    grace.get(f"/users/{own}").assert_status(404)


def test_with_a_client_of_ones_own(live_app: LiveApp, auth_headers: dict[str, str]) -> None:
    """What the guide does by hand: any client, and the header."""
    answer = requests.get(f"{live_app.url}/api/users/me", headers=auth_headers, timeout=10)

    assert answer.json()["email"] == "admin@example.com"
