"""What the commit protocol needs: leases by the database's clock, an outbox by destination."""

import sqlalchemy as sa
from alembic import op

from quantumio.registry._dialect import BIG_INTEGER as INTEGER
from quantumio.registry._dialect import BINARY_UUID as UUID
from quantumio.registry._dialect import TEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PREPARING = sa.text("state = 'PREPARING'")


def upgrade() -> None:
    """Change what the first revision made and nobody has written to."""
    op.add_column("txn", sa.Column("lease_ns", INTEGER))
    op.drop_column("txn", "lease_until")
    op.create_index(
        "txn_preparing", "txn", ["created_at"], sqlite_where=_PREPARING, postgresql_where=_PREPARING
    )
    op.drop_table("outbox")
    op.create_table(
        "outbox",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("txid", UUID, sa.ForeignKey("txn.txid"), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("destination", TEXT, nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("not_before", INTEGER, nullable=False),
        sa.Column("claimed_by", UUID),
        sa.CheckConstraint(
            "kind IN ('replicate','export','flip_table','notify','clean')", name="outbox_kind"
        ),
        sa.UniqueConstraint("txid", "kind", "destination", name="outbox_follow_up"),
        sqlite_strict=True,
    )
    op.create_index("outbox_due", "outbox", ["not_before"])
