"""Processes that were open when a registry was upgraded go on writing by its older schema: no longer.

From here on each transaction proves the schema. Those of schemas before do not, but all of theirs come by the
clock, the owner that they have, or what is to follow. These tables have other names now. In their places are
views that raise, with an error that an older quantumio takes for one that passes: so it keeps in its journal
what it cannot commit.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TOLD = "this repository was upgraded: start this process again with the newer quantumio"
_RENAMED = {  # in the order in which transactions of older schemas take them
    "clock": ("registry_clock", {"id": "BIGINT", "seq": "BIGINT", "edits": "BIGINT", "decided_ns": "BIGINT"}),
    "outbox": (
        "registry_outbox",
        {
            "id": "BIGINT",
            "txid": "UUID",
            "kind": "TEXT",
            "destination": "TEXT",
            "attempts": "BIGINT",
            "created_at": "BIGINT",
            "not_before": "BIGINT",
            "claimed_by": "UUID",
        },
    ),
    "owner": (
        "registry_owner",
        {"id": "UUID", "host": "TEXT", "boot_id": "TEXT", "heartbeat_at": "BIGINT"},
    ),
}


_HERE = (
    "SELECT quote_ident(nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE pg_class.oid = 'registry_clock'::regclass"
)


def upgrade() -> None:
    """Rename the tables; in a registry that is being made nobody needs to be stopped."""
    for old, (new, _) in _RENAMED.items():
        op.rename_table(old, new)
    if op.get_bind().execute(sa.text("SELECT id FROM repository")).first() is None:
        return
    if op.get_bind().dialect.name == "sqlite":
        # An error that says it, since it is no path in JSON; of the functions that raise only this one may be
        # used in views (trusted_schema=OFF). Without the trigger writing would fail, too, and not say why.
        _put_views(f"json_each('{{}}', '{_TOLD}')")
        op.execute("CREATE TRIGGER clock_stop INSTEAD OF UPDATE ON clock BEGIN SELECT 1; END")
    else:
        _stop_on_postgresql()


def _put_views(stop: str) -> None:
    for old, (_, columns) in _RENAMED.items():
        values = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns.items())
        # With a limit it is evaluated as it stands: no condition of who asks is found to be false before.
        op.execute(f"CREATE VIEW {old} AS SELECT {values} FROM {stop} LIMIT 1")  # noqa: S608  all of it is ours


def _stop_on_postgresql() -> None:
    # Where the tables are: who upgrades may look into other schemas first.
    searched = op.get_bind().execute(sa.text("SELECT current_setting('search_path')")).scalar_one()
    op.execute(f"SELECT set_config('search_path', ({_HERE}), true)")
    op.execute(
        "CREATE FUNCTION stop_older_quantumio() RETURNS boolean LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION '{_TOLD}' USING ERRCODE = '55000'; END$$"
    )
    op.execute(
        "CREATE FUNCTION stop_older_quantumio_writing() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION '{_TOLD}' USING ERRCODE = '55000'; END$$"
    )
    _put_views("stop_older_quantumio() AS stop")
    op.execute(
        "CREATE TRIGGER clock_stop INSTEAD OF UPDATE ON clock "
        "FOR EACH ROW EXECUTE FUNCTION stop_older_quantumio_writing()"
    )
    # Who may not even ask is refused for good, and would keep nothing. There is nothing to be seen.
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(_RENAMED)} TO PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION stop_older_quantumio() TO PUBLIC")
    op.get_bind().execute(
        sa.text("SELECT set_config('search_path', :searched, true)"), {"searched": searched}
    )
