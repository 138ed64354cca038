"""A release's chain of schema revisions, read from its files and never executed: a plan must not run what it plans.

A revision that removes what older releases need says so in a module variable: `contract = True`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from officeops.errors import UsageError

BASE = "base"  # what Alembic calls a database before its first revision


@dataclass(frozen=True)
class Revision:
    """One step of the schema. down: the revision that it follows, None for the first. contract: it removes what older releases need."""

    id: str
    down: str | None
    doc: str
    contract: bool
    file: Path


@dataclass(frozen=True)
class Chain:
    """The revisions of one release, oldest first."""

    revisions: tuple[Revision, ...] = ()

    @property
    def head(self) -> str | None:
        """The newest revision's id; None when there is none."""
        return self.revisions[-1].id if self.revisions else None

    def __iter__(self) -> Iterator[Revision]:
        return iter(self.revisions)

    def __contains__(self, revision: object) -> bool:
        return any(one.id == revision for one in self.revisions)

    def after(self, revision: str | None) -> tuple[Revision, ...]:
        """Those that follow `revision`, oldest first; all of them for None. Raises UsageError when it is not in the chain."""
        return self.revisions[self._index(revision) + 1 :]

    def up_to(self, revision: str | None) -> tuple[Revision, ...]:
        """Those that a database at `revision` has, oldest first. Raises UsageError when it is not in the chain."""
        return self.revisions[: self._index(revision) + 1]

    def pending(self, current: str | None) -> tuple[tuple[Revision, ...], tuple[Revision, ...]]:
        """What a database at `current` lacks: first what may be done while an older release runs, then what waits, from the first contract
        revision on. A database that was never migrated has no older release and takes everything. Raises UsageError as `after`."""
        missing = self.after(current)
        free = 0
        while free < len(missing) and (current is None or not missing[free].contract):
            free += 1
        return missing[:free], missing[free:]

    def _index(self, revision: str | None) -> int:
        if revision is None:
            return -1
        for index, one in enumerate(self.revisions):
            if one.id == revision:
                return index
        known = ", ".join(one.id for one in self.revisions) or "none"
        raise UsageError(f"There is no revision {revision!r} in this release.", state="Nothing was changed.", todo=f"It has: {known}.")


def read_chain(folder: Path | None) -> Chain:
    """The chain in `folder` of Alembic's revisions; an empty one when there is no such folder or nothing in it.

    Raises UsageError naming the files: one does not parse or lacks `revision` or `down_revision`; an id twice; a predecessor that is not
    there; two revisions after the same one; a circle.
    """
    if folder is None or not folder.is_dir():
        return Chain()
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py" and not path.name.startswith("."))
    return _in_order([_read(path) for path in files])


def _read(path: Path) -> Revision:
    try:
        tree = ast.parse(path.read_bytes(), filename=path.name)
    except (SyntaxError, ValueError) as error:
        raise _wrong(f"{path.name} does not parse: {error}") from error
    values = _values(tree)
    identifier, down, contract = values.get("revision"), values.get("down_revision", ...), values.get("contract", False)
    if not isinstance(identifier, str) or not identifier:
        raise _wrong(f"{path.name} has no `revision` that is a plain text")
    if isinstance(down, tuple | list):
        raise _wrong(f"{path.name} joins branches: {', '.join(map(str, down))}")
    if down is not None and not isinstance(down, str):
        raise _wrong(f"{path.name} has no `down_revision` that is a plain text or None")
    if not isinstance(contract, bool):
        raise _wrong(f"{path.name} has a `contract` that is neither True nor False")
    return Revision(identifier, down, (ast.get_docstring(tree) or "").partition("\n")[0], contract, path)


def _values(tree: ast.Module) -> dict[str, object]:
    """The module's variables that are constants."""
    found: dict[str, object] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            found |= {target.id: _constant(statement.value) for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None:
            found[statement.target.id] = _constant(statement.value)
    return found


def _constant(value: ast.expr) -> object:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...  # computed, and so unknown


def _in_order(found: Sequence[Revision]) -> Chain:
    by_id: dict[str, Revision] = {}
    next_of: dict[str | None, Revision] = {}
    for one in found:
        if one.id in by_id:
            raise _wrong(f"{by_id[one.id].file.name} and {one.file.name} are both revision {one.id!r}")
        by_id[one.id] = one
    for one in found:
        if one.down is not None and one.down not in by_id:
            raise _wrong(f"{one.file.name} follows revision {one.down!r}, which no file has")
        if one.down in next_of:
            raise _wrong(f"{next_of[one.down].file.name} and {one.file.name} both follow {one.down or 'nothing'}: there are two heads")
        next_of[one.down] = one
    ordered: list[Revision] = []
    step = next_of.get(None)
    while step is not None:
        ordered.append(step)
        step = next_of.get(step.id)
    if len(ordered) < len(found):
        circle = ", ".join(one.file.name for one in found if one not in ordered)
        raise _wrong(f"These follow each other in a circle: {circle}")
    return Chain(tuple(ordered))


def _wrong(what: str) -> UsageError:
    return UsageError(f"The release's migrations make no chain: {what}.", state="Nothing was changed.", todo="Mend the files and commit.")
