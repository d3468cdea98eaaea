"""The parts of the shop, put together."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from .inventory import InventoryClient
from .mail import Mailer
from .orders import OrderService
from .payments import PaymentProcessor
from .queue import OrderQueue
from .settings import Settings
from .workflow import BusinessWorkflow


class Parts:
    """What the API and the worker are made of; nothing connects before it is used."""

    def __init__(self, settings: Settings) -> None:
        # a connection that the server has closed meanwhile is opened anew, and fails no request
        self.engine = create_engine(settings.database_url, pool_pre_ping=True)
        self.sessions = sessionmaker(self.engine)
        self.mailer = Mailer(settings.smtp_host, settings.smtp_port)
        self.inventory = InventoryClient(settings.inventory_url)
        self.payments = PaymentProcessor(settings.payment_url)
        self.orders = OrderService(self.sessions, self.inventory, OrderQueue(settings.rabbitmq_url).publish)
        self.workflow = BusinessWorkflow(self.sessions, self.inventory, self.payments, self.mailer)
