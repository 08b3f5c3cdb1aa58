"""An index by place: datasets of one detector or patch, of all times. Fewer constraints on PostgreSQL.

The tables of dataset types are described here as this revision finds them, whatever becomes of them later.
"""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from quantumio.registry._dialect import identifier

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the datasets of the groups that have times and places, and leave some references to fsck."""
    connection = op.get_bind()
    _leave_to_fsck("dataset", "type_id")
    _leave_to_fsck("object", "txid")
    universe = connection.execute(
        sa.select(sa.column("universe")).select_from(sa.table("repository"))
    ).scalar()
    if universe is None:
        return  # this registry is being made
    elements = {element["name"]: element for element in json.loads(universe)["elements"]}
    names: Any = connection.execute(sa.select(sa.column("dimensions")).select_from(sa.table("dataset_type")))
    for dimensions in sorted({tuple(json.loads(text)) for text in names.scalars()}):
        digest = hashlib.sha256(json.dumps(dimensions).encode()).hexdigest()[:8]
        suffix = f"{'_'.join(dimensions).lower()[:36]}_{digest}"
        _leave_to_fsck(f"dataset_{suffix}", "run_id", "type_id", "txid")
        times = [name for name in dimensions if elements[name]["temporal"]]
        places = [name for name in dimensions if name not in times and elements[name]["requires"]]
        others = [name for name in dimensions if name not in (*times, *places)]
        if times and places:
            columns = ["run_id", "type_id", *(identifier("d_", name) for name in (*places, *times))]
            if connection.dialect.name == "sqlite":
                columns += [
                    *(identifier("d_", name) for name in others),
                    "v",
                    "commit_seq",
                    "removed_seq",
                    "id",
                ]
            op.create_index(f"place_{suffix}", f"dataset_{suffix}", columns, sqlite_where=sa.text("v > 0"))


def _leave_to_fsck(table: str, *columns: str) -> None:
    """Take away constraints that PostgreSQL checks row by row; on SQLite they cost little and stay."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for constraint in sa.inspect(op.get_bind()).get_foreign_keys(table):
        if constraint["constrained_columns"][0] in columns:
            op.drop_constraint(str(constraint["name"]), table)
