"""Test data of the small application. No factory names a session: the plugin binds them to that of each test."""

from __future__ import annotations

import factory
from factory.alchemy import SQLAlchemyModelFactory

from .models import User
from .workflow import OrderItem, PlacedOrder, Product


class UserFactory(SQLAlchemyModelFactory):
    class Meta:
        model = User

    email = factory.Sequence(lambda number: f"user{number}@example.com")
    name = factory.Faker("name")
    role = "customer"


class ProductFactory(SQLAlchemyModelFactory):
    class Meta:
        model = Product

    name = factory.Sequence(lambda number: f"product {number}")
    price = factory.Faker("pyint", min_value=1, max_value=500)
    stock = 10


class OrderFactory(SQLAlchemyModelFactory):
    class Meta:
        model = PlacedOrder

    user = factory.SubFactory(UserFactory)


class OrderItemFactory(SQLAlchemyModelFactory):
    class Meta:
        model = OrderItem

    order = factory.SubFactory(OrderFactory)
    product = factory.SubFactory(ProductFactory)
    quantity = 1
