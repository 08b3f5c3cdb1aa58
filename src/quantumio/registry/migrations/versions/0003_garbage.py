"""What garbage collection needs: who names an object. Sessions of stores are owners, in their table."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index, and drop what nobody has written to."""
    op.create_index("artifact_object", "artifact", ["object_id"])
    op.drop_table("session")
