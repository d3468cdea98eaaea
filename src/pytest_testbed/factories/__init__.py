"""Test data: factory_boy's factories on a session; knows no pytest."""
