"""Directories of tests; knows no pytest."""
