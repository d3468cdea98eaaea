"""RabbitMQ: the recipe of a broker, virtual hosts for tests, and what tests say to it."""
