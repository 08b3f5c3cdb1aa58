"""Which users have a store of their own at a destination: if it is not there, it is not mounted."""

import sqlalchemy as sa
from alembic import op

from quantumio.registry._dialect import TEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; who has a store already is noted when it is opened."""
    op.create_table(
        "workspace",
        sa.Column("store", TEXT, nullable=False),
        sa.Column("user_name", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("store", "user_name"),
        sqlite_strict=True,
    )
