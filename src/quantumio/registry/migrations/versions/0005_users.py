"""In which user's store an object is, where each user has one of their own."""

import sqlalchemy as sa
from alembic import op

from quantumio.registry._dialect import TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what is there already nobody knows."""
    op.add_column("object", sa.Column("user_name", TEXT, nullable=True))
