"""The generated parts of the reference: each file makes those of one page."""

SECTIONS = {
    "postgres": "PostgreSQL",
    "rabbitmq": "RabbitMQ",
    "http": "HTTP",
    "mail": "Mail",
    "factories": "Test data",
    "files": "Files",
}
"""The kinds of things that tests get, by the name of their package, in the order of each page."""
