"""A release's chain of revisions, read without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from officeops.errors import UsageError
from officeops.releases.revisions import Chain, read_chain
from tests.support.backend import BACKEND


def revision(identifier: str, down: str | None, extra: str = "", doc: str = "Something.") -> str:
    return f'"""{doc}"""\nfrom alembic import op\nrevision = {identifier!r}\ndown_revision = {down!r}\n{extra}\ndef upgrade(): ...\n'


def folder_with(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def ids(revisions: object) -> list[str]:
    return [one.id for one in revisions]  # type: ignore[attr-defined]


def test_the_backends_own_revisions_are_a_chain() -> None:
    chain = read_chain(BACKEND / "alembic" / "versions")
    assert ids(chain)[:4] == ["0001", "0002", "0003", "0004"]
    assert chain.revisions[2].doc == "Who did what."
    assert not any(one.contract for one in chain.revisions[:4])


def test_order_comes_from_what_follows_what_and_not_from_names(tmp_path: Path) -> None:
    chain = read_chain(folder_with(tmp_path, a=revision("z", "m"), b=revision("m", "c"), c=revision("c", None)))
    assert ids(chain) == ["c", "m", "z"]
    assert chain.head == "z"
    assert ids(chain.after("c")) == ["m", "z"]
    assert ids(chain.up_to("m")) == ["c", "m"]
    assert ids(chain.after(None)) == ["c", "m", "z"]
    assert chain.up_to(None) == ()
    assert "m" in chain
    assert "x" not in chain


def test_annotated_variables_as_alembics_own_template_writes_them_are_read(tmp_path: Path) -> None:
    text = '"""First."""\nrevision: str = "1a"\ndown_revision: str | None = None\ncontract: bool = True\n'
    (one,) = read_chain(folder_with(tmp_path, first=text))
    assert (one.id, one.down, one.doc, one.contract) == ("1a", None, "First.", True)


def test_nothing_of_a_file_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    read_chain(folder_with(tmp_path, first=revision("1", None, f"open({str(trap)!r}, 'w')\nraise SystemExit")))
    assert not trap.exists()


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_an_application_without_migrations_has_an_empty_chain(folder: Path | None) -> None:
    assert read_chain(folder) == Chain()
    assert Chain().head is None
    assert Chain().pending(None) == ((), ())


def test_an_empty_folder_is_an_empty_chain(tmp_path: Path) -> None:
    assert read_chain(tmp_path) == Chain()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": revision("1", None), "b": revision("2", "1"), "c": revision("3", "1")}, ["b.py", "c.py", "both follow 1", "two heads"]),
        ({"a": revision("1", None), "b": revision("2", None)}, ["a.py", "b.py", "both follow nothing"]),
        ({"a": revision("1", None), "b": revision("1", "1")}, ["a.py", "b.py", "both revision '1'"]),
        ({"a": revision("1", None), "b": revision("3", "2")}, ["b.py", "'2'", "no file has"]),
        ({"a": revision("1", None), "b": revision("2", "3"), "c": revision("3", "2")}, ["circle", "b.py", "c.py"]),
        ({"a": revision("1", "2"), "b": revision("2", "1")}, ["circle", "a.py", "b.py"]),
        ({"a": "revision = ("}, ["a.py", "does not parse"]),
        ({"a": "def upgrade(): ..."}, ["a.py", "`revision`"]),
        ({"a": "revision = '1'"}, ["a.py", "`down_revision`"]),
        ({"a": "import b\nrevision = b.x\ndown_revision = None"}, ["a.py", "`revision`"]),
        ({"a": "revision = '3'\ndown_revision = ('1', '2')"}, ["a.py", "joins branches: 1, 2"]),
        ({"a": revision("1", None, "contract = 'yes'")}, ["a.py", "contract"]),
    ],
)
def test_what_is_no_chain_names_its_files(tmp_path: Path, files: dict[str, str], said: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read_chain(folder_with(tmp_path, **files))
    for word in said:
        assert word in caught.value.what
    assert caught.value.todo


CONTRACT = "contract = True"


@pytest.mark.parametrize(
    ("current", "free", "waiting"),
    [
        ("1", ["2"], ["3", "4"]),
        ("2", [], ["3", "4"]),
        ("3", ["4"], []),
        ("4", [], []),
        (None, ["1", "2", "3", "4"], []),
    ],
)
def test_what_waits_begins_with_the_first_contract_revision(
    tmp_path: Path, current: str | None, free: list[str], waiting: list[str]
) -> None:
    chain = read_chain(
        folder_with(
            tmp_path, a=revision("1", None), b=revision("2", "1"), c=revision("3", "2", CONTRACT), d=revision("4", "3")
        )
    )  # fmt: skip
    found = chain.pending(current)
    assert (ids(found[0]), ids(found[1])) == (free, waiting)


def test_a_revision_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    chain = read_chain(folder_with(tmp_path, a=revision("1", None)))
    with pytest.raises(UsageError, match=r"'0009'.*It has: 1"):
        chain.after("0009")
