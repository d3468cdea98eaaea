"""The small application's REST API, as a WSGI application of Flask's."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from sqlalchemy.orm import Session, sessionmaker

from .accounts import AuthenticationService, Invalid, SessionService
from .models import User

Sessions = sessionmaker()
"""Bound by whoever runs the application."""


def create_app() -> Flask:
    app = Flask(__name__)

    @app.errorhandler(Invalid)
    def invalid(error: Invalid) -> tuple[Any, int]:
        return {"errors": error.errors}, 400

    @app.post("/api/auth/login")
    def login() -> tuple[Any, int]:
        given = request.get_json()
        with Sessions() as session:
            result = AuthenticationService(session).login(given.get("email", ""), given.get("password", ""))
        return ({"token": result.token}, 200) if result.success else ({"error": "wrong e-mail or password"}, 401)

    @app.post("/api/users")
    def create_user() -> tuple[Any, int]:
        given = request.get_json()
        with Sessions() as session:
            if user_of(session) is None:
                return {"error": "log in first"}, 401
            result = AuthenticationService(session).register(
                given.get("email", ""), given.get("password", ""), given.get("name", "")
            )
            user = session.get(User, result.user_id)
            return {"id": user.id, "email": user.email, "name": user.name}, 201

    @app.get("/api/users/<int:user_id>")
    def get_user(user_id: int) -> tuple[Any, int]:
        with Sessions() as session:
            if user_of(session) is None:
                return {"error": "log in first"}, 401
            user = session.get(User, user_id)
            return ({"id": user.id, "email": user.email, "name": user.name}, 200) if user else ({"error": "nobody"}, 404)

    @app.get("/api/me")
    def me() -> tuple[Any, int]:
        with Sessions() as session:
            user = user_of(session)
            return ({"email": user.email}, 200) if user else ({"error": "log in first"}, 401)

    return app


def user_of(session: Session) -> User | None:
    """Return who sends the request."""
    return SessionService(session).user_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
