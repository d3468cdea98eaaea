"""A small shop: users buy products."""
