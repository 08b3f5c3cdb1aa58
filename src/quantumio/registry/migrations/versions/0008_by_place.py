"""An index by place: datasets of one detector, or of one patch, of all times.

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
    """Index the datasets of the groups that have times and places."""
    connection = op.get_bind()
    universe = connection.execute(
        sa.select(sa.column("universe")).select_from(sa.table("repository"))
    ).scalar()
    if universe is None:
        return  # this registry is being made
    elements = {element["name"]: element for element in json.loads(universe)["elements"]}
    names: Any = connection.execute(sa.select(sa.column("dimensions")).select_from(sa.table("dataset_type")))
    for dimensions in sorted({tuple(json.loads(text)) for text in names.scalars()}):
        times = [name for name in dimensions if elements[name]["temporal"]]
        places = [name for name in dimensions if name not in times and elements[name]["requires"]]
        others = [name for name in dimensions if name not in (*times, *places)]
        if times and places:
            order = [identifier("d_", name) for name in (*places, *times, *others)]
            _index(dimensions, order)


def _index(dimensions: tuple[str, ...], order: list[str]) -> None:
    digest = hashlib.sha256(json.dumps(dimensions).encode()).hexdigest()[:8]
    suffix = f"{'_'.join(dimensions).lower()[:36]}_{digest}"
    columns = ["run_id", "type_id", *order, "v", "commit_seq", "removed_seq", "id"]
    op.create_index(f"place_{suffix}", f"dataset_{suffix}", columns, sqlite_where=sa.text("v > 0"))
