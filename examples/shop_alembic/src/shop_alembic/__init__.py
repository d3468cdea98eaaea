"""A shop whose schema is made by migrations."""
