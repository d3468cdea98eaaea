"""Levels and areas of tests; knows no pytest."""
