"""The journal and the index of backups, in SQLite and in PostgreSQL."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine

from officeops.clock import Clock, utc_now
from officeops.errors import OfficeOpsError
from officeops.ledger import Approval, Copy, Drill, Ledger, ReleaseRecord
from officeops.ledger.ledger import LedgerError
from tests.support.postgres import PASSWORD, Running

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NewLedger = Callable[..., Ledger]
COPY = Copy(
    "b1", "file:/x", "2026-03-01T12:00:00Z", "database", 1 << 40, "2026-03-01T12:01:00Z", None, False, {"id": "b1", "表": [1, None]}
)
DRILL = Drill("b1", "2026-03-02T00:00:00Z", True, 1.5, "")


def ticking() -> Clock:
    """A second later each time."""
    moments = iter(NOON + timedelta(seconds=number) for number in range(10_000))
    return lambda: next(moments)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """None: the file in OFFICEOPS_HOME."""
    if request.param == "sqlite":
        return None
    server: Running = request.getfixturevalue("postgres")
    made = URL.create(
        "postgresql+psycopg", server.server.superuser, PASSWORD, "127.0.0.1", server.server.port, request.getfixturevalue("database")
    )
    return made.render_as_string(hide_password=False)


@pytest.fixture
def new_ledger(folder: Path, url: str | None) -> NewLedger:
    """Opens one more Ledger object on the same, at first empty, ledger."""
    return lambda stack="office", clock=utc_now: Ledger.open(folder, stack, url, clock=clock)


@pytest.fixture
def ledger(new_ledger: NewLedger) -> Ledger:
    return new_ledger(clock=ticking())


def in_process(code: str, folder: Path, url: str | None, *arguments: str) -> subprocess.Popen[str]:
    """`code` in a process of its own, with `ledger` open and `arguments` in sys.argv[1:]."""
    head = "import os, sys\nfrom pathlib import Path\nfrom officeops.ledger import Ledger\n"
    head += "home, url = Path(os.environ['HERE']), os.environ.get('LEDGER_URL')\nprint('ready', flush=True)\nsys.stdin.readline()\n"
    head += "ledger = Ledger.open(home, 'office', url)\n"
    env = {**os.environ, "HERE": str(folder), **({"LEDGER_URL": url} if url else {})}
    process = subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def all_at_once(processes: list[subprocess.Popen[str]]) -> list[int]:
    """Lets them go and returns their statuses."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    return [process.returncode for process in processes]


# Operations


def test_an_operation_begins_advances_and_ends(ledger: Ledger) -> None:
    begun = ledger.begin("backup", "b1", targets=["file:/x"], form="dump")
    assert ledger.operation("b1") == begun
    assert (begun.state, begun.outcome, begun.started_at) == ("begun", None, "2026-03-01T12:00:00Z")
    ledger.advance("b1", "database", key="a/b")
    advanced = ledger.operation("b1")
    assert advanced == replace(begun, state="database", facts={"targets": ["file:/x"], "form": "dump", "key": "a/b"})
    ledger.end("b1", "done")
    assert ledger.operation("b1") == replace(advanced, outcome="done", finished_at="2026-03-01T12:00:02Z")


def test_a_fact_that_is_told_again_replaces_the_old_one(ledger: Ledger) -> None:
    ledger.begin("restore", "r1", previous=None, kept=1)
    ledger.advance("r1", "swap", previous="office_prev_1")
    found = ledger.operation("r1")
    assert found is not None
    assert found.facts == {"previous": "office_prev_1", "kept": 1}


@pytest.mark.parametrize("value", ["売上 'quoted' \"x\" \\ %s :name", "", None, 1.5, 2**53, [{"deep": [True, None]}], "\u2028 \x01 😀"])
def test_facts_come_back_as_they_were(ledger: Ledger, value: object) -> None:
    ledger.begin("restore", "r1", fact=value)
    found = ledger.operation("r1")
    assert found is not None
    assert found.facts == {"fact": value}


@pytest.mark.parametrize("word", ["line\nbreak", "a nul \0 inside", "half a character \udcff", "x" * 100_000])
def test_an_error_may_hold_whatever_a_program_printed(ledger: Ledger, word: str) -> None:
    ledger.begin("backup", "b1")
    ledger.end("b1", "failed", f"before {word} behind")
    ledger.record_drill(replace(DRILL, detail=f"before {word} behind"))
    found = ledger.operation("b1")
    assert found is not None
    for text in (str(found.error), ledger.drills()[0].detail):
        assert (text.startswith("before "), text.endswith(" behind")) == (True, True)


def test_an_id_is_used_once(ledger: Ledger) -> None:
    ledger.begin("backup", "b1", fact=1)
    with pytest.raises(LedgerError, match="b1 already"):
        ledger.begin("backup", "b1", fact=2)
    found = ledger.operation("b1")
    assert found is not None
    assert found.facts == {"fact": 1}


def test_the_first_outcome_stays(ledger: Ledger) -> None:
    ledger.begin("backup", "b1")
    ledger.end("b1", "failed", "the disk is full")
    ended = ledger.operation("b1")
    ledger.end("b1", "done")
    assert ledger.operation("b1") == ended


def test_an_operation_that_never_was_is_none(ledger: Ledger) -> None:
    assert ledger.operation("b1") is None
    ledger.end("b1", "done")
    assert ledger.operation("b1") is None


def test_operations_are_found_by_kind_and_outcome_newest_first(ledger: Ledger) -> None:
    for number in range(4):
        ledger.begin("backup", f"b{number}")
        ledger.begin("restore", f"r{number}")
    ledger.end("b1", "done")
    ledger.end("b3", "done")
    ledger.end("b0", "failed")

    def found(kind: str, outcome: str | None = None, limit: int | None = None) -> list[str]:
        return [operation.id for operation in ledger.operations(kind, outcome=outcome, limit=limit)]

    assert found("backup") == ["b2"]
    assert found("backup", "done") == ["b3", "b1"]
    assert found("backup", "done", 1) == ["b3"]
    assert found("backup", "failed") == ["b0"]
    assert found("restore") == ["r3", "r2", "r1", "r0"]
    assert found("drill") == []


def test_stacks_do_not_see_each_other(new_ledger: NewLedger) -> None:
    office, shop = new_ledger("office"), new_ledger("shop")
    for ledger, size in ((office, 1), (shop, 2)):
        ledger.begin("backup", "b1", size=size)
        ledger.record_copy(replace(COPY, bytes=size))
        ledger.record_drill(replace(DRILL, seconds=size))
    office.end("b1", "done")
    office.forget_target(COPY.target)
    assert [operation.facts for operation in shop.operations("backup")] == [{"size": 2}]
    assert ([copy.bytes for copy in shop.copies()], office.copies()) == ([2], [])
    assert [drill.seconds for drill in office.drills()] == [1]


# Kills, and two at once

KILLED = """
ledger.begin("backup", "b1", targets=["file:/x"])
ledger.advance("b1", "database", key="a/b")
print("journalled", flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_was_doing_is_found_by_the_next(new_ledger: NewLedger, folder: Path, url: str | None) -> None:
    assert all_at_once([in_process(KILLED, folder, url)]) == [-signal.SIGKILL]
    (found,) = new_ledger().operations("backup")
    assert (found.id, found.state, found.facts, found.outcome) == ("b1", "database", {"targets": ["file:/x"], "key": "a/b"}, None)


WRITES = """
me = sys.argv[1]
ledger.begin("backup", me)
for number in range(15):
    ledger.advance("shared", f"step {number}", **{f"{me}-{number}": number})
    ledger.advance(me, f"step {number}")
ledger.end(me, "done")
"""


def test_processes_that_journal_at_once_lose_nothing_of_each_other(new_ledger: NewLedger, folder: Path, url: str | None) -> None:
    ledger = new_ledger()
    ledger.begin("restore", "shared")
    assert all_at_once([in_process(WRITES, folder, url, f"p{number}") for number in range(3)]) == [0, 0, 0]
    found = ledger.operation("shared")
    assert found is not None
    assert found.facts == {f"p{process}-{number}": number for process in range(3) for number in range(15)}
    assert {operation.id for operation in ledger.operations("backup", outcome="done")} == {"p0", "p1", "p2"}


def test_threads_that_journal_at_once_lose_nothing_of_each_other(ledger: Ledger) -> None:
    ledger.begin("backup", "b1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.advance("b1", "branch", **{str(number): number}), range(40)))
    found = ledger.operation("b1")
    assert found is not None
    assert found.facts == {str(number): number for number in range(40)}


def test_a_ledger_that_is_opened_for_the_first_time_by_several_at_once_is_one(new_ledger: NewLedger, folder: Path, url: str | None) -> None:
    code = "ledger.begin('backup', sys.argv[1])"
    assert all_at_once([in_process(code, folder, url, f"p{number}") for number in range(4)]) == [0] * 4
    assert len(new_ledger().operations("backup")) == 4


def test_a_journal_may_be_read_while_it_is_written(new_ledger: NewLedger) -> None:
    """Also while a transaction is open: who only looks waits for nobody."""
    ledger, other = new_ledger(), new_ledger()
    ledger.begin("backup", "b1")
    with ledger._writing() as connection:
        connection.exec_driver_sql("UPDATE operations SET state = 'half' WHERE id = 'b1'")
        found = other.operation("b1")
    assert found is not None
    assert found.state == "begun"


# Copies and drills


def test_a_copy_comes_back_as_it_was(ledger: Ledger) -> None:
    ledger.record_copy(COPY)
    assert ledger.copies() == [COPY]


def test_a_copy_that_is_told_again_replaces_the_old_one(ledger: Ledger) -> None:
    ledger.record_copy(COPY)
    worse = replace(COPY, verified_at=None, problem="damaged", pinned=True)
    ledger.record_copy(worse)
    assert ledger.copies() == [worse]


def test_copies_are_told_newest_first_and_by_backup(ledger: Ledger) -> None:
    old, new, other = replace(COPY, backup="b0", at="2026-02-01T00:00:00Z"), COPY, replace(COPY, target="s3://bucket/x")
    for copy in (old, other, new):
        ledger.record_copy(copy)
    assert ledger.copies() == [new, other, old]
    assert ledger.copies("b0") == [old]
    assert ledger.copies("none") == []


def test_copies_are_forgotten_one_by_one_or_by_target(ledger: Ledger) -> None:
    copies = [replace(COPY, backup=backup, target=target) for backup in ("b0", "b1") for target in ("file:/x", "file:/y")]
    for copy in copies:
        ledger.record_copy(copy)
    ledger.forget_copy("b0", "file:/x")
    ledger.forget_copy("b0", "file:/x")
    assert len(ledger.copies()) == 3
    ledger.forget_target("file:/y")
    assert ledger.copies() == [copies[2]]


def test_a_drill_is_recorded_once(ledger: Ledger) -> None:
    later = replace(DRILL, at="2026-03-09T00:00:00Z", ok=False, detail="表 differs")
    for drill in (DRILL, later, DRILL):
        ledger.record_drill(drill)
    assert ledger.drills() == [later, DRILL]


# Opening


def test_the_file_is_made_in_home_and_survives_a_power_cut(folder: Path) -> None:
    ledger = Ledger.open(folder / "not" / "there", "office")
    assert (folder / "not" / "there" / "ledger.db").is_file()
    with ledger._reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_an_sqlite_url_is_as_durable_as_the_default(folder: Path) -> None:
    ledger = Ledger.open(folder / "home", "office", f"sqlite:///{folder}/elsewhere.db")
    with ledger._reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_home_with_odd_characters_is_a_path_and_no_url(folder: Path) -> None:
    odd = folder / "100%25 ?x=1 #売上"
    Ledger.open(odd, "office").begin("backup", "b1")
    assert (odd / "ledger.db").is_file()


def in_the_way(folder: Path) -> None:
    (folder / "home").write_text("a file")


def no_database(folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "ledger.db").write_text("this is no database, and long enough to be seen as such" * 100)


@pytest.mark.parametrize("prepare", [in_the_way, no_database])
def test_a_file_that_cannot_be_a_ledger_is_an_error_that_names_it(folder: Path, prepare: Callable[[Path], None]) -> None:
    prepare(folder)
    with pytest.raises(OfficeOpsError, match="ledger") as failed:
        Ledger.open(folder / "home", "office")
    assert failed.value.todo


@pytest.fixture
def refused_urls(postgres: Running) -> list[str]:
    right = URL.create("postgresql+psycopg", "office", "a-wrong-password-42", "127.0.0.1", postgres.server.port, "postgres")
    return [made.render_as_string(hide_password=False) for made in (right, right.set(port=9), right.set(database="not there"))]


def test_a_database_that_cannot_be_opened_is_an_error_without_its_password(folder: Path, refused_urls: list[str]) -> None:
    for url in [*refused_urls, "postgresql+nodriver://u:a-wrong-password-42@h/d", "no url a-wrong-password-42"]:
        with pytest.raises(LedgerError) as failed:
            Ledger.open(folder, "office", url)
        assert "a-wrong-password-42" not in str(failed.value)
        assert failed.value.todo


def test_a_ledger_that_fails_later_says_so_without_the_values(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    ledger.begin("backup", "b1")
    with ledger._writing() as connection:
        connection.exec_driver_sql("DROP TABLE operations")
    with pytest.raises(LedgerError, match="operations") as failed:
        ledger.begin("backup", "b2", fact="a value of ours")
    assert "a value of ours" not in str(failed.value)
    assert PASSWORD not in str(failed.value)


def test_nobody_else_may_read_the_file(folder: Path) -> None:
    Ledger.open(folder, "office")
    assert stat.S_IMODE((folder / "ledger.db").stat().st_mode) == 0o600


def test_a_question_to_people_keeps_its_first_answer(ledger: Ledger) -> None:
    asked = Approval("run-1-terms", "restore", "run-1", {"from": "a backup"}, "2026-04-01T00:00:00Z")
    answered = replace(asked, decision="reject", who="佐藤", why="not \0 today", decided_at="2026-04-01T01:00:00Z")
    ledger.record_approval(asked)
    assert ledger.approvals() == [asked]
    ledger.record_approval(answered)
    ledger.record_approval(replace(answered, decision="approve"))
    ledger.record_approval(asked)  # as a run that is resumed asks again
    assert ledger.approvals() == [replace(answered, why="not \ufffd today")]


def test_questions_are_those_of_the_stack_newest_first(new_ledger: NewLedger) -> None:
    one, other = new_ledger("one"), new_ledger("other")
    older = Approval("a", "restore", "run", {}, "2026-04-01T00:00:00Z")
    newer = Approval("b", "rollback", "run", {}, "2026-04-02T00:00:00Z")
    for approval in (older, newer):
        one.record_approval(approval)
    assert one.approvals() == [newer, older]
    assert other.approvals() == []


def test_a_release_may_have_a_name_that_is_longer_than_a_commit_also_in_a_ledger_from_before(
    new_ledger: NewLedger, url: str | None
) -> None:
    new_ledger()
    if url is not None:
        with create_engine(url).begin() as connection:
            connection.exec_driver_sql("ALTER TABLE releases ALTER COLUMN sha TYPE varchar(40)")
    name = f"{'a' * 40}-r12"
    record = ReleaseRecord("r", name, "rebuild", "blue-green", "blue", {}, {}, "me", "", "2026-03-01T12:00:00Z")
    ledger = new_ledger()
    ledger.record_release(record)
    assert [one.sha for one in ledger.releases()] == [name]
