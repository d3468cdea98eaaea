"""The shop's API, in Flask."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, g, request
from sqlalchemy import select

from .accounts import AccountService, InvalidAccount, LoginFailed
from .inventory import InventoryError, OutOfStock
from .models import Order, Product, User
from .orders import UnknownProduct
from .parts import Parts
from .settings import Settings

Answer = dict[str, Any] | list[dict[str, Any]] | tuple[dict[str, Any], int]


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application; without settings, those of the environment."""
    app = Flask(__name__)
    parts = Parts(settings or Settings.from_environment())

    @app.before_request
    def open_session() -> None:
        g.session = parts.sessions()
        g.accounts = AccountService(g.session, parts.mailer)

    @app.teardown_request
    def close_session(error: BaseException | None) -> None:
        g.session.close()

    def with_user(view: Callable[..., Answer]) -> Callable[..., Answer]:
        @wraps(view)
        def guarded(**arguments: Any) -> Answer:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            g.user = g.accounts.user_of(token) if scheme == "Bearer" else None
            return view(**arguments) if g.user is not None else ({"error": "log in first"}, 401)

        return guarded

    @app.post("/api/auth/login")
    def login() -> Answer:
        try:
            return {"token": g.accounts.login(text("email"), text("password"))}
        except LoginFailed:
            return {"error": "wrong e-mail or password"}, 401

    @app.post("/api/users")
    def register() -> Answer:
        try:
            return user_json(g.accounts.register(text("email"), text("name"), text("password"))), 201
        except InvalidAccount as error:
            return {"errors": error.errors}, 400

    @app.get("/api/users/<int:user_id>")
    @with_user
    def show_user(user_id: int) -> Answer:
        user = g.session.get(User, user_id) if g.user.role == "admin" or g.user.id == user_id else None
        return user_json(user) if user is not None else ({"error": "no such user"}, 404)

    @app.get("/api/users/me")
    @with_user
    def profile() -> Answer:
        return user_json(g.user)

    @app.get("/api/products")
    def products() -> Answer:
        found = g.session.scalars(select(Product).order_by(Product.id))
        return [{"id": each.id, "name": each.name, "price": each.price, "stock": each.stock} for each in found]

    @app.post("/api/orders")
    @with_user
    def order() -> Answer:
        wanted = wanted_items()
        if not wanted or min(wanted.values()) < 1:
            return {"errors": {"items": "are no products with their quantities"}}, 400
        try:
            order_id = parts.orders.create_order(g.user.id, wanted, text("card"))
        except UnknownProduct as error:
            return {"error": f"there is no product {error}"}, 404
        except OutOfStock:
            return {"error": "out of stock"}, 409
        except InventoryError:
            return {"error": "try again later"}, 503
        return order_json(g.session.get_one(Order, order_id)), 201

    @app.get("/api/orders/<int:order_id>")
    @with_user
    def show_order(order_id: int) -> Answer:
        found = g.session.get(Order, order_id)
        if found is None or (g.user.role != "admin" and found.user_id != g.user.id):
            return {"error": "no such order"}, 404
        return order_json(found)

    return app


def text(name: str) -> str:
    """Return a field of the request's body; "" where it is missing."""
    return str((request.get_json() or {}).get(name) or "")


def wanted_items() -> dict[int, int]:
    """Return the products that the request's body orders, with their quantities; empty where it is not clear."""
    try:
        return {int(item["product"]): int(item["quantity"]) for item in request.get_json()["items"]}
    except (KeyError, TypeError, ValueError):
        return {}


def user_json(user: User) -> dict[str, Any]:
    """Return what the API tells of a user."""
    return {"id": user.id, "email": user.email, "name": user.name, "role": user.role}


def order_json(order: Order) -> dict[str, Any]:
    """Return what the API tells of an order."""
    items = [{"product": item.product_id, "quantity": item.quantity} for item in order.items]
    return {"id": order.id, "status": order.status, "total": order.total, "items": items}
