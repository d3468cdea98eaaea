"""A small shop: users order products, a worker charges them."""
