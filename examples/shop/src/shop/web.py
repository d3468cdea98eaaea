"""The shop's API, in Flask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any
from unicodedata import category

from flask import Flask, abort, g, request
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from .accounts import AccountService, LoginFailed
from .errors import InvalidInput
from .inventory import InventoryError, OutOfStock
from .models import Order, Product, Role, User
from .orders import OrderRepository, UnknownProduct
from .parts import Parts
from .queue import QueueError
from .settings import Settings

LONGEST_CARD, MOST_OF_A_PRODUCT = 100, 1_000
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

    @app.errorhandler(InvalidInput)
    def tell_fields(error: InvalidInput) -> Answer:
        return {"errors": error.errors}, 400

    @app.errorhandler(HTTPException)
    def tell_in_json(error: HTTPException) -> Answer:
        return {"error": error.description}, error.code or 500

    def with_user(view: Callable[..., Answer]) -> Callable[..., Answer]:
        @wraps(view)
        def guarded(**arguments: Any) -> Answer:
            g.user = g.accounts.user_of(bearer())
            return view(**arguments) if g.user is not None else ({"error": "log in first"}, 401)

        return guarded

    @app.post("/api/auth/login")
    def login() -> Answer:
        try:
            return {"token": g.accounts.login(text("email"), text("password"))}
        except LoginFailed:
            return {"error": "wrong e-mail or password"}, 401

    @app.delete("/api/auth/login")
    @with_user
    def logout() -> Answer:
        g.accounts.logout(bearer())
        return {}, 204

    @app.post("/api/users")
    def register() -> Answer:
        return user_json(g.accounts.register(text("email"), text("name"), text("password"))), 201

    @app.get("/api/users/<int:user_id>")
    @with_user
    def show_user(user_id: int) -> Answer:
        user = g.session.get(User, user_id) if g.user.role == Role.ADMIN or g.user.id == user_id else None
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
        wanted, card = wanted_items(), text("card")
        if len(card) > LONGEST_CARD:
            raise InvalidInput({"card": f"has more than {LONGEST_CARD} characters"})
        try:
            order_id = parts.orders.create_order(g.user.id, wanted, card)
        except UnknownProduct as error:
            return {"error": f"there is no product {error}"}, 404
        except OutOfStock:
            return {"error": "out of stock"}, 409
        except (InventoryError, QueueError):
            return {"error": "try again later"}, 503
        return order_json(g.session.get_one(Order, order_id)), 201

    @app.get("/api/orders")
    @with_user
    def own_orders() -> Answer:
        return [order_json(each) for each in OrderRepository(g.session).of_user(g.user.id)]

    @app.get("/api/orders/<int:order_id>")
    @with_user
    def show_order(order_id: int) -> Answer:
        found = g.session.get(Order, order_id)
        if found is None or (g.user.role != Role.ADMIN and found.user_id != g.user.id):
            return {"error": "no such order"}, 404
        return order_json(found)

    return app


def bearer() -> str:
    """Return the token of the request's `Authorization`; "" where there is none, which is nobody's."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


def body() -> dict[str, Any]:
    """Return the request's body, a JSON object."""
    found = request.get_json()
    if not isinstance(found, dict):
        abort(400, "The body is no JSON object.")
    return found


def text(name: str) -> str:
    """Return a text of the request's body; "" where there is none. Control characters are for no mail and no database."""
    found = body().get(name)
    if not isinstance(found, str):
        return ""
    if any(category(each) in ("Cc", "Cs") for each in found):  # Cs: half of a pair, alone
        raise InvalidInput({name: "has characters that cannot be stored"})
    return found


def wanted_items() -> dict[int, int]:
    """Return the products that the request's body orders, with their quantities; one that is there twice is added up."""
    wanted: Counter[int] = Counter()
    try:
        for item in body().get("items") or []:
            wanted[whole(item["product"])] += whole(item["quantity"])
    except (LookupError, TypeError):
        wanted.clear()
    if not wanted or max(wanted.values()) > MOST_OF_A_PRODUCT:
        raise InvalidInput({"items": f"are no products with quantities from 1 to {MOST_OF_A_PRODUCT}"})
    return wanted


def whole(value: object) -> int:
    """Return a number from 1 on; raise TypeError where it is none."""
    if type(value) is not int or value < 1:
        raise TypeError(value)
    return value


def user_json(user: User) -> dict[str, Any]:
    """Return what the API tells of a user."""
    return {"id": user.id, "email": user.email, "name": user.name, "role": user.role}


def order_json(order: Order) -> dict[str, Any]:
    """Return what the API tells of an order."""
    items = [{"product": item.product_id, "quantity": item.quantity, "price": item.price} for item in order.items]
    return {"id": order.id, "status": order.status, "total": order.total, "items": items}
