"""Comparison with other plugins and with fixtures written by hand; `compare.py` beside this folder is its command."""
