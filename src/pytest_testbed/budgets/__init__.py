"""Budgets of tests; knows no pytest."""
