"""PostgreSQL: how a server is got, how tests are kept apart on it."""
