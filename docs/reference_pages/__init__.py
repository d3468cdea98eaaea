"""The generated parts of the reference: each file makes those of one page."""
