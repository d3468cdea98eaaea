"""Users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
    )
    # told apart by letters, not by their case: no metadata says this, the migration alone does
    op.execute("CREATE UNIQUE INDEX users_email_any_case ON users (lower(email))")


def downgrade() -> None:
    op.drop_table("users")
