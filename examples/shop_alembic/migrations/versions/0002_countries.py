"""Countries to which the shop delivers, with their first rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    countries = op.create_table("countries", sa.Column("code", sa.String(2), primary_key=True))
    op.bulk_insert(countries, [{"code": "DE"}, {"code": "FR"}])
    op.add_column("users", sa.Column("country", sa.String(2), sa.ForeignKey("countries.code"), nullable=False))


def downgrade() -> None:
    op.drop_column("users", "country")
    op.drop_table("countries")
