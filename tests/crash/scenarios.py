"""What the crash tests do, and what must be true whenever it stops.

Every value carries the label of the context that put it, so that whatever is found says where it belongs.
"""

import contextlib
import itertools
import os
import sqlite3
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
import pyarrow as pa

from quantumio import Butler, DatasetType
from quantumio.butler import _bulk_ingest
from quantumio.destinations.files import FilesDestination
from quantumio.engine import GarbageCollector, GarbageTally, PlanScope, _committer
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalState
from quantumio.model import ArtifactState, Committed, Transaction
from quantumio.ports import StoredObject
from quantumio.system import environment
from quantumio.testing import collect_garbage_at_once
from tests.planted import bugs

bugs.plant_if_asked()  # the processes of the harness load this module, and no plug-in of pytest

RUN = "r"
TYPES = {"stats": "Mapping", "blob": "Bytes", "table": "ArrowTable"}
ROWS = 3

# Which datasets (type, visit) the context of a label puts.
MANIFESTS = {
    "before": {("stats", 1)},
    "one": {("stats", 1), ("blob", 1)},
    "two": {("stats", 1)},
    "many": {("stats", 1), ("stats", 2), ("stats", 3), ("blob", 1), ("blob", 2)},
    "input": {("stats", 2), ("blob", 2)},
    "derived": {("stats", 3)},
    "rows": {("table", 1), ("stats", 2)},
    "more rows": {("table", 1)},
    "keyed": {("stats", 2), ("blob", 2)},
    "left": {("stats", 1)},
    "right": {("stats", 1)},
    "beside": {("blob", 2)},
    "after": {("stats", 1), ("stats", 2), ("blob", 1)},
    "late": {("stats", 1), ("table", 1)},
    "undecided": {("blob", 1)},
}
BUSY = {thread: [f"busy {thread}.{number}" for number in range(6)] for thread in range(4)}
MANIFESTS |= {
    label: {("stats", 1 + number % 3), ("blob", 1 + thread % 2)}
    for thread, labels in BUSY.items()
    for number, label in enumerate(labels)
}


def value(dataset_type, label):
    return {
        "stats": {"context": label, "numbers": [1, 2.5, None]},
        "blob": f"{label}\n".encode() * 40,
        "table": pa.table({"context": [label] * ROWS, "number": list(range(ROWS))}),
    }[dataset_type]


def label_of(dataset_type, found):
    """Return whose value it is, and hold it to be right to the last byte."""
    label = {
        "stats": lambda: found["context"],
        "blob": lambda: found.partition(b"\n")[0].decode(),
        "table": lambda: found["context"][0].as_py(),
    }[dataset_type]()
    expected = value(dataset_type, label)
    same = found.to_pydict() == expected.to_pydict() if dataset_type == "table" else found == expected
    assert same, f"a wrong {dataset_type}: {found!r}"
    return label


# ---------------------------------------------------------------------------- repositories


def make(repository: Path, runtime=None, **config) -> None:
    in_memory = {"allow_volatile_journal": True}  # nobody cuts the power
    with Butler.create(repository, {**config, "runtime": {**in_memory, **(runtime or {})}}) as butler:
        for name, storage_class in TYPES.items():
            butler.register_dataset_type(DatasetType(name, dimensions=["visit"], storage_class=storage_class))
    with opened(repository) as butler:
        commit(butler, "before")


def local(repository):
    make(repository)


def immediate(repository):
    make(repository, rules=[{"mode": "immediate"}])


def second(repository):
    second = {"kind": "files", "root": "second"}
    make(repository, destinations={"second": second}, rules=[{"to": ["local", "second?"]}])


def remote(repository):
    """One required copy here, and one in an S3 store, which outlives the process and all runs share."""
    archive = {
        "kind": "objects",
        "root": f"s3://{os.environ['QUANTUMIO_CRASH_BUCKET']}/store",
        "endpoint": os.environ["QUANTUMIO_CRASH_ENDPOINT"],
        "insecure": True,
    }
    make(repository, destinations={"archive": archive}, rules=[{"to": ["local", "archive?"]}])


def little_memory(repository):
    make(repository, runtime={"max_buffer_bytes": 150})


def packs(repository):
    make(repository, runtime={"pack_fewest": 3})


def level3(repository):
    level3 = {"kind": "database", "url": "sqlite:///level3.db"}
    make(
        repository,
        destinations={"level3": level3},
        rules=[{"datasets": "table", "to": ["local", "level3"]}, {"datasets": "*", "to": "local"}],
    )


def level3_in_registry(repository):
    """Rows that plain SQL sees with the very commit: nothing of them is left to be done after it."""
    level3 = {"kind": "database", "url": "registry"}
    make(
        repository,
        destinations={"level3": level3},
        rules=[{"datasets": "table", "to": ["local", "level3"]}, {"datasets": "*", "to": "local"}],
    )


# ---------------------------------------------------------------------------- scenarios


def opened(repository, **options):
    return Butler(repository, instrument="ST8", **({"run": RUN} | options))


def commit(butler, label, *, ack="committed", key=None):
    with butler.context(ack=ack, key=key) as ctx:
        for dataset_type, visit in sorted(MANIFESTS[label]):
            ctx.put(value(dataset_type, label), dataset_type, visit=visit)


def two_commits(repository, acknowledge):
    with opened(repository) as butler:
        for label in ("one", "two"):
            commit(butler, label)
            acknowledge(f"committed {label}")


def one_commit(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "one")
        acknowledge("committed one")


def with_second_copy(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "one", ack="settled")
        acknowledge("committed one")
        acknowledge("settled one")


def with_rows(repository, acknowledge):
    with opened(repository) as butler:
        for label in ("rows", "more rows"):
            commit(butler, label, ack="settled")
            acknowledge(f"committed {label}")
            acknowledge(f"settled {label}")


def journaled_commits(repository, acknowledge):
    with opened(repository) as butler:
        for label in ("one", "two"):
            commit(butler, label, ack="journaled")
            acknowledge(f"journaled {label}")
        butler.drain()
        acknowledge("committed one")
        acknowledge("committed two")


def journaled_rows(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "rows", ack="journaled")
        acknowledge("journaled rows")


def journaled_pack(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "many", ack="journaled")
        acknowledge("journaled many")


def small_outputs(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "many")
        acknowledge("committed many")


def reads_the_first(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "input")
        acknowledge("committed input")
        with butler.context() as ctx:
            assert label_of("stats", ctx.get("stats", visit=2)) == "input"
            ctx.put(value("stats", "derived"), "stats", visit=3)
        acknowledge("committed derived")


def depends(repository, acknowledge):
    """One context reads what another has put, before either is committed."""
    with opened(repository) as butler:
        scope = PlanScope()
        first, second = butler.context(), butler.context()
        first._context._plan = second._context._plan = scope
        for dataset_type, visit in sorted(MANIFESTS["input"]):
            first.put(value(dataset_type, "input"), dataset_type, visit=visit)
        first.commit("buffered")
        assert label_of("stats", second.get("stats", visit=2)) == "input"
        second.put(value("stats", "derived"), "stats", visit=3)
        second.commit()
        acknowledge("committed derived")
        acknowledge("committed input")


def conflict_in_a_group(repository, acknowledge):
    """Three contexts become visible together, but for one that another is quicker than."""
    with opened(repository) as butler:
        contexts = {}
        for label in ("left", "right", "beside"):
            contexts[label] = context = butler.context()
            for dataset_type, visit in sorted(MANIFESTS[label]):
                expect = 1 if label != "beside" else None
                context.put(value(dataset_type, label), dataset_type, visit=visit, expect=expect)
        tickets = {label: context.commit("buffered") for label, context in contexts.items()}
        with contextlib.suppress(ExceptionGroup):
            butler.drain()
        for label, ticket in tickets.items():
            if isinstance(ticket.outcome, Committed):
                acknowledge(f"committed {label}")
        butler.errors(acknowledge=True)


def busy(repository, acknowledge):
    """Four threads commit at all levels at the same time, and have versions of the same datasets."""

    def work(labels):
        for label, ack in zip(labels, itertools.cycle(["committed", "journaled", "settled"]), strict=False):
            commit(butler, label, ack=ack)
            acknowledge(f"{ack} {label}")

    with opened(repository) as butler, ThreadPoolExecutor() as threads:
        for done in [threads.submit(work, labels) for labels in BUSY.values()]:
            done.result()


def keyed(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "keyed", key="quantum 1")
        acknowledge("committed keyed")


def replaces(repository, acknowledge):
    with opened(repository) as butler:
        with butler.context() as ctx:
            ctx.put(value("stats", "replaced"), "stats", visit=1)
            ctx.put(value("blob", "one"), "blob", visit=1)
            ctx.put(value("stats", "one"), "stats", visit=1, replace=True)
        acknowledge("committed one")


def with_garbage(repository):
    """Leave what ended transactions and dead processes leave, some of it seen by gc already."""
    local(repository)
    with opened(repository) as butler:
        leave_garbage(butler, repository, 0)
        collect(butler)
        leave_garbage(butler, repository, 3)


def leave_garbage(butler, repository, number):
    (open_repository,) = butler._session.repositories
    catalog, owner = open_repository.catalog, environment.uuid7()
    catalog.register_owner(owner, "elsewhere", "")
    ended = Transaction(txid=environment.uuid7(), run=RUN, key=None, outputs=())
    catalog.prepare([ended], owner, 60)
    catalog.abort(ended.txid, 0, "user")
    (kept,) = butler.query("stats", limit=1)
    committed = butler.versions("stats", visit=kept.data_id["visit"], run=RUN)[0]
    directory = repository / "data" / "stats" / RUN
    for txid in (ended.txid, committed.txid):
        for position in range(number, number + 2):
            (directory / f"{txid}.0.{position + 7}.json").write_bytes(b"dead")
    (directory / f".qio-00{number}.tmp").write_bytes(b"dead")


def collect(butler):
    """Run gc once, without patience."""
    (repository,) = butler._session.repositories
    GarbageCollector(
        repository.catalog, repository.destinations, grace_s=0, dry_run=False, tally=GarbageTally()
    ).run(yes_really=1000)


def collects(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "one")
        acknowledge("committed one")
        collect(butler)


def collect_again(repository):
    with opened(repository) as butler:
        butler.recover()
        collect(butler)


def recover(repository):
    with opened(repository) as butler:
        butler.recover()


def with_a_pack(repository):
    packs(repository)
    with opened(repository) as butler:
        commit(butler, "many")


PARTS = [{("stats", 1), ("blob", 1)}, {("stats", 2), ("stats", 3), ("blob", 2)}]
"""What `deletes` deletes of the context "many" at a time."""


def of_many(butler, part):
    """Return the datasets of the context "many" that are there, of one part."""
    refs = butler.query("*", versions="all")
    return [
        ref
        for ref in refs
        if (ref.dataset_type.name, ref.data_id["visit"]) in part
        and label_of(ref.dataset_type.name, butler.get(ref)) == "many"
    ]


def deletes(repository, acknowledge):
    with opened(repository) as butler:
        for number, part in enumerate(PARTS):
            butler.delete(of_many(butler, part), dry_run=False)
            acknowledge(f"deleted {number}")
            collect(butler)
            collect(butler)


def with_conflict(repository):
    """Leave what was promised and lost, of which there are rows, too."""
    level3(repository)
    lose(repository)


def with_conflict_of_files(repository):
    local(repository)
    lose(repository)


def lose(repository):
    """Commit a context that was promised, and that another was quicker than: its bytes are kept."""
    with opened(repository) as butler:
        context = butler.context(ack="journaled")
        for dataset_type, visit in sorted(MANIFESTS["late"]):
            expect = "create" if dataset_type == "stats" else None
            context.put(value(dataset_type, "late"), dataset_type, visit=visit, expect=expect)
        context.commit()
        with contextlib.suppress(ExceptionGroup):
            butler.drain()
        butler.errors(acknowledge=True)
        assert [one.txid for one in butler.set_aside()] == [context.txid]


def with_quarantine(repository):
    """Leave a transaction of a registry from a backup, and what it has placed."""
    immediate(repository)
    with opened(repository) as butler:
        context = butler.context()
        context.put(value("blob", "undecided"), "blob", visit=1)
        butler.recover(restored=True)
        context.abort()
        assert [one.txid for one in butler.set_aside()] == [context.txid]
    assert len(list((repository / "data" / "blob" / RUN).iterdir())) == 1


def retries(repository, acknowledge):
    retry_again(repository)
    acknowledge("committed late")


def retry_again(repository):
    """Take in what is set aside, as whoever comes after a death does."""
    with opened(repository) as butler:
        report = butler.recover(retry=[one.txid for one in butler.set_aside()], as_next=True)
        assert report.is_clean, report


def drops(repository, acknowledge):
    drop_again(repository)
    acknowledge("dropped")


def drop_again(repository):
    with opened(repository) as butler:
        report = butler.recover(drop=[one.txid for one in butler.set_aside()])
        assert report.is_clean, report


# ---------------------------------------------------------------------------- planted bugs


def acknowledges_early(repository, acknowledge):
    with opened(repository) as butler:
        acknowledge("committed one")
        commit(butler, "one")


def flips_before_it_places(repository, acknowledge):
    late = []

    def promise(self, placements):
        late.append((self, placements))
        return [StoredObject(path=one.path, nbytes=one.nbytes, modified_ns=0) for one in placements]

    place, flip = FilesDestination.place, _committer.Committer._flip

    def flip_first(self, group):
        outcomes = flip(self, group)
        while late:
            place(*late.pop())
        return outcomes

    FilesDestination.place, _committer.Committer._flip = promise, flip_first
    small_outputs(repository, acknowledge)


def flips_in_halves(repository, acknowledge):
    flip = _committer.Committer._flip

    def halves(self, group):
        flip(self, [attrs.evolve(whole, outputs=whole.outputs[:1]) for whole in group])
        others = [(whole.outputs[-1].ref.id, whole.outputs[1:]) for whole in group]
        rest = [attrs.evolve(group[0], txid=txid, outputs=outputs) for txid, outputs in others]
        return flip(self, rest)

    _committer.Committer._flip = halves
    with contextlib.suppress(AssertionError):
        small_outputs(repository, acknowledge)


def forgets_the_key(repository, acknowledge):
    with opened(repository) as butler:
        commit(butler, "keyed")
        acknowledge("committed keyed")


def leaves_a_thread(repository, acknowledge):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


# ---------------------------------------------------------------------------- tables of files

INGESTED = 7
_IN_PLACE = "u/in-place"
_COPIED = "u/copied"


def with_files(repository):
    local(repository)
    (repository / "incoming").mkdir()
    for number in range(INGESTED):
        incoming(repository, number).write_bytes(b"%d\n" % number * (number + 1))


def incoming(repository, number):
    return repository / "incoming" / f"{number}.bin"


def ingests(repository, acknowledge, *, chunk=2):
    """Ingest a table in place, and another one of copies, a few rows in each chunk."""
    for name in ("_FIRST_CHUNK", "_LEAST_CHUNK", "_MOST_CHUNK", "_CHUNK_OF_FILES"):
        setattr(_bulk_ingest, name, chunk)
    numbers = list(range(INGESTED))
    table = pa.table({"visit": numbers, "uri": [str(incoming(repository, one)) for one in numbers]})
    with opened(repository) as butler:
        for run, transfer in ((_IN_PLACE, "direct"), (_COPIED, "copy")):
            butler.ingest(
                table,
                "blob",
                run=run,
                transfer=transfer,
                progress=lambda progress, run=run: acknowledge(f"{run} {progress.done}"),
            )


def check_ingest(repository, crash):
    """Rows come in order, whole chunks at a time; the same call ends it, and none is there twice."""
    done = {_IN_PLACE: 0, _COPIED: 0}
    done |= {line.split()[0]: int(line.split()[1]) for line in crash.acknowledged}
    with opened(repository, readonly=True) as butler:
        for run, promised in done.items():
            count = look_at_ingested(butler, run)
            assert count >= promised, f"{promised} rows of {run} were told, and {count} are visible"
            assert count % 2 == 0 or count == INGESTED, f"a part of a chunk of {run}: {count}"
    with opened(repository) as butler:
        butler.recover()
        look_for_remains_of_ingest(butler, repository)
    ingests(repository, lambda line: None, chunk=3)  # it is cut otherwise than before
    with opened(repository) as butler:
        for run in done:
            assert look_at_ingested(butler, run) == INGESTED
        butler.drain()
        look_for_remains_of_ingest(butler, repository)
        assert butler.fsck(2).is_whole


def look_at_ingested(butler, run):
    """Hold that the first rows of the table are there, once and right; return how many."""
    if run not in [one.name for one in butler.collections()]:
        return 0
    refs = list(butler.query("blob", collections=run, versions="all"))
    assert sorted(ref.data_id["visit"] for ref in refs) == list(range(len(refs))), f"rows of {run}: {refs}"
    for ref in refs:
        number = ref.data_id["visit"]
        assert ref.version == 1
        assert butler.get(ref) == b"%d\n" % number * (number + 1)
    return len(refs)


def look_for_remains_of_ingest(butler, repository):
    (open_repository,) = butler._session.repositories
    assert open_repository.catalog.preparing() == []
    assert open_repository.catalog.outbox() == []
    known = {
        unquote(urlsplit(location.url).path)
        for ref in butler.query("*", collections="*", versions="all")
        for location in butler.where_is(ref)
    }
    files = {path for path in (repository / "data").rglob("*") if path.is_file() and "_qio" not in path.parts}
    left = {str(path) for path in files if not path.name.startswith(".qio-")} - known
    assert not left, f"files without a row: {left}"


# ---------------------------------------------------------------------------- what must be true


def look(butler, repository, acknowledged):
    """Hold what a reader sees to be whole, right and all that was promised; return the labels."""
    datasets = defaultdict(dict)
    for ref in butler.query("*", versions="all"):
        datasets[ref.dataset_type.name, ref.data_id["visit"]][ref.id] = ref
    transactions = defaultdict(set)
    labels = {}
    for (name, visit), refs in datasets.items():
        stored = butler.versions(name, visit=visit, run=RUN)
        assert {one.ref.id for one in stored} == set(refs), "a query and a list of versions differ"
        numbers = [one.ref.version for one in stored]
        assert numbers == list(range(1, len(stored) + 1)), f"versions of {name} {visit}: {numbers}"
        for one in stored:
            label = label_of(name, butler.get(one.ref))
            transactions[one.txid].add((name, visit))
            assert labels.setdefault(one.txid, label) == label
            for location in there(butler, one.ref):
                url = urlsplit(location.url)
                assert url.scheme != "file" or Path(unquote(url.path)).is_file(), f"no file: {location.url}"
    for txid, found in transactions.items():
        assert found == MANIFESTS[labels[txid]], f"a part of context {labels[txid]!r}: {found}"
    visible = sorted(labels.values())
    assert len(visible) == len(set(visible)), f"a context became visible twice: {visible}"
    assert "before" in visible
    assert "derived" not in visible or "input" in visible
    assert not {"left", "right"} <= set(visible), "both became the second version"
    for line in acknowledged:
        level, _, label = line.partition(" ")
        if level in ("journaled", "dropped"):
            continue  # it may be in the journal alone
        assert label in visible, f"{line}, but it is not visible"
        if level == "settled":
            look_settled(butler, label)
    look_at_rows(repository, set(datasets.get(("table", 1), ())))
    return set(visible)


def there(butler, ref):
    """Return the places that are said to hold it; a copy that is still to come is none."""
    return [location for location in butler.where_is(ref) if location.state is not ArtifactState.PENDING]


def look_settled(butler, label):
    for ref in butler.query("*", versions="all"):
        if label_of(ref.dataset_type.name, butler.get(ref)) == label:
            explained = butler.explain_put(ref.dataset_type.name, visit=ref.data_id["visit"], run=RUN)
            places = {location.destination for location in there(butler, ref)}
            assert places == {target.destination for target in explained.targets}


def look_at_rows(repository, datasets):
    """What plain SQL reads is a part of what is visible, and whole for each dataset.

    In the registry's own database it is all that is visible, at every moment.
    """
    level3 = repository / "level3.db"
    found = rows_by_dataset(level3 if level3.exists() else repository / "registry.sqlite3", datasets)
    assert set(found.values()) <= {ROWS}
    assert set(found) <= {str(id_) for id_ in datasets}
    if not level3.exists() and 'url = "registry"' in (repository / "butler.toml").read_text():
        assert set(found) == {str(id_) for id_ in datasets}, "rows are not visible with their commit"


def rows_by_dataset(database, datasets):
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            known = connection.execute("SELECT name FROM sqlite_master WHERE name = 'table'").fetchall()
        except sqlite3.OperationalError as error:
            # It died while SQLite made the file: nothing is in it, and the next writer rolls that back.
            if datasets or error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
                raise
            return {}
        if not known:
            return {}
        return dict(connection.execute('SELECT dataset_id, COUNT(*) FROM "table" GROUP BY dataset_id'))


def check(repository, crash):
    promised = {line.partition(" ")[2] for line in crash.acknowledged if line.startswith("journaled ")}
    may_come = promised | journaled(repository)
    with opened(repository, readonly=True) as butler:
        seen = look(butler, repository, crash.acknowledged)
    with opened(repository) as butler:
        butler.recover()
        recovered = look(butler, repository, [*crash.acknowledged, *(f"committed {one}" for one in promised)])
        assert seen <= recovered <= seen | may_come, f"recovery made {recovered} of {seen}"
        assert butler.recover().items == [], "recovering again found something"
        look_for_remains(butler, repository)
        commit(butler, "after")
        now = look(butler, repository, [*crash.acknowledged, "committed after"])
        assert now == recovered | {"after"}
        butler.drain()
        look_for_remains(butler, repository)
        look_for_garbage(butler, repository)


def check_retry(repository, crash):
    """What was set aside is visible whole, or set aside whole; and then taken in, once."""
    with opened(repository, readonly=True) as butler:
        seen = look(butler, repository, crash.acknowledged)
        if "late" not in seen:
            look_at_set_aside(butler)
    with opened(repository) as butler:
        butler.recover()
        assert look(butler, repository, crash.acknowledged) == seen, "recovery has decided by itself"
        if "late" in seen:
            assert butler.set_aside() == []
            look_for_remains(butler, repository)
        else:
            look_at_set_aside(butler)
            (aside,) = butler.set_aside()
            assert butler.recover(retry=aside.txid, as_next=True).is_clean
            assert look(butler, repository, ["committed late"]) == seen | {"late"}
            butler.drain()
            assert butler.set_aside() == []
        butler.recover()  # what an attempt has left that was ended
        assert butler.recover().items == []
        look_for_remains(butler, repository)
        look_for_garbage(butler, repository)


def look_at_set_aside(butler):
    """Hold that what was set aside has all its bytes."""
    (aside,) = butler.set_aside()
    assert aside.damage is None
    places = {(one.ref.dataset_type.name, one.ref.data_id["visit"]) for one in aside.outputs}
    assert places == MANIFESTS["late"]
    (entry,) = Journal(aside.path.parent).entries()
    for blob in entry.manifest().blobs:
        entry.read(blob)


def check_drop(repository, crash):
    """What was set aside is there whole, or gone; and is never visible."""
    with opened(repository, readonly=True) as butler:
        seen = look(butler, repository, crash.acknowledged)
        assert seen == {"before"}
        if any(one.path is not None for one in butler.set_aside()):
            look_at_set_aside(butler)
        assert not (crash.acknowledged and butler.set_aside()), "it was dropped, and is there"
    with opened(repository) as butler:
        before = [one.txid for one in butler.set_aside()]
        butler.recover()
        assert [one.txid for one in butler.set_aside()] == before, "recovery has decided by itself"
        assert butler.recover(drop=before).is_clean
        assert butler.set_aside() == butler.recover().items == []
        assert look(butler, repository, []) == {"before"}
        look_for_remains(butler, repository)
        look_for_garbage(butler, repository)


def check_deletes(repository, crash):
    """What is deleted is gone in parts that are whole, all else can be read, and nothing is left of it."""
    with opened(repository, readonly=True) as butler:
        seen = look_at_deleted(butler, crash.acknowledged)
    with opened(repository) as butler:
        butler.recover()
        assert look_at_deleted(butler, crash.acknowledged) == seen
        look_for_remains_of_deleted(butler, repository, seen)
        for part in PARTS:
            butler.delete(of_many(butler, part), dry_run=False)
        assert look_at_deleted(butler, ["deleted 0", "deleted 1"]) == [False, False]
        look_for_garbage(butler, repository)
        commit(butler, "after")
        numbers = [one.ref.version for one in butler.versions("stats", visit=1, run=RUN)]
        assert numbers == [1, 3], f"numbers of versions were given again: {numbers}"
        assert not butler.fsck(level=2).findings


def look_at_deleted(butler, acknowledged):
    """Return which parts are there; each is there whole or not at all, and so is what nobody deletes."""
    (before,) = butler.versions("stats", visit=1, run=RUN)[:1]
    assert label_of("stats", butler.get(before.ref)) == "before"
    there_ = [{(one.dataset_type.name, one.data_id["visit"]) for one in of_many(butler, p)} for p in PARTS]
    for number, (found, part) in enumerate(zip(there_, PARTS, strict=True)):
        assert found in (set(), part), f"a half of part {number} is deleted: {found}"
        assert not (found and f"deleted {number}" in acknowledged), f"part {number} is there again"
    assert there_[1] or not there_[0], "the second part was deleted before the first"
    return [bool(found) for found in there_]


def look_for_remains_of_deleted(butler, repository, seen):
    """Hold that a gc without patience removes what nothing is left in, and no more."""
    look_for_garbage(butler, repository)
    packs_left = [path for path in (repository / "data" / "_packs").rglob("*") if path.is_file()]
    assert len(packs_left) == (1 if any(seen) else 0)
    assert look_at_deleted(butler, []) == seen


def check_garbage(repository, crash):
    """As `check`; and gc, whatever has stopped it, goes on, and then nothing is left."""
    promised = {line.partition(" ")[2] for line in crash.acknowledged}
    with opened(repository, readonly=True) as butler:
        seen = look(butler, repository, crash.acknowledged)
        assert promised <= seen
    with opened(repository) as butler:
        butler.recover()
        butler.drain()
        assert look(butler, repository, crash.acknowledged) == seen
        look_for_garbage(butler, repository)
        assert look(butler, repository, crash.acknowledged) == seen


def look_for_garbage(butler, repository):
    """Hold that after a gc without patience the stores have what datasets have, and nothing else."""
    (open_repository,) = butler._session.repositories
    if "archive" in open_repository.destinations.names():
        return  # the copies of the repository share that store: it has sessions that this copy does not know
    report = collect_garbage_at_once(butler)
    assert report.findings == tuple(one for one in report.findings if one.kind == "removed"), report
    wanted = set()
    for ref in butler.query("*", versions="all"):
        wanted |= {Path(unquote(urlsplit(one.url).path)) for one in butler.where_is(ref)}
    found = set()
    for root in (repository / "data", repository / "second"):
        found |= {path for path in root.rglob("*") if path.is_file() and "_qio" not in path.parts}
        own = {path.name for path in (root / "_qio").glob("*")}
        assert own <= {"store.json", "session"}, f"left in {root}: {own}"
    assert found == {path for path in wanted if path.suffix not in (".db", ".sqlite3")}, found ^ wanted


def journaled(repository):
    """Return the labels of what is in the journal whole, promised or not."""
    labels = set()
    for entry in Journal(repository / "journal").entries():
        if entry.state is JournalState.READY:
            outputs = entry.manifest().transaction.outputs
            places = {(one.ref.dataset_type.name, one.ref.data_id["visit"]) for one in outputs}
            labels |= {label for label, wanted in MANIFESTS.items() if wanted == places}
    return labels


def look_for_remains(butler, repository):
    """Hold that no file is without a row, and that nothing waits for anybody."""
    (open_repository,) = butler._session.repositories
    catalog = open_repository.catalog
    assert catalog.preparing() == []
    assert catalog.outbox() == [], catalog.outbox()
    assert Journal(repository / "journal").entries() == []
    look_for_loads(repository)
    known = {
        unquote(urlsplit(location.url).path)
        for ref in butler.query("*", versions="all")
        for location in butler.where_is(ref)
    }
    for root in (repository / "data", repository / "second"):
        for path in root.rglob("*"):
            if path.is_file() and "_qio" not in path.parts and not path.name.startswith(".qio-"):
                assert str(path) in known, f"a file without a row: {path}"


def look_for_loads(repository):
    """Hold that no rows are without a dataset."""
    for database in (repository / "level3.db", repository / "registry.sqlite3"):
        if not database.exists():
            continue
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            if connection.execute("SELECT name FROM sqlite_master WHERE name = 'qio_loads'").fetchall():
                loads = {load for (load,) in connection.execute("SELECT qio_load FROM qio_loads")}
                visible = {load for (load,) in connection.execute("SELECT qio_load FROM qio_visible")}
                assert loads == visible, "rows without a dataset"


def check_key(repository, crash):
    check(repository, crash)
    with opened(repository) as butler:
        commit(butler, "keyed", key="quantum 1")
        look(butler, repository, [*crash.acknowledged, "committed keyed"])
