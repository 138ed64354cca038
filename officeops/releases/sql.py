"""What Alembic prints in its offline mode (`--sql`), taken apart: whose statements they are, and what they remove."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"^-- Running (?:upgrade|downgrade) (\S*) -> ?(\S*)")
_NAME = r'(?:(?:"[^"]+"|[\w$]+)\.)?(?:"[^"]+"|[\w$]+)'
_DROP_TABLE = re.compile(rf"\bDROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_NAME}(?:\s*,\s*{_NAME})*)", re.IGNORECASE)
_ALTER_TABLE = re.compile(rf"\bALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?({_NAME})([^;]*)", re.IGNORECASE)
_DROP_COLUMN = re.compile(rf"\bDROP\s+(?:COLUMN\s+)(?:IF\s+EXISTS\s+)?({_NAME})", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True)
class Dropped:
    """A table that goes, or a column of it; names as they are written, without quotes."""

    table: str
    column: str | None = None

    def __str__(self) -> str:
        return f"column {self.table}.{self.column}" if self.column else f"table {self.table}"


def upgrade_scripts(printed: str) -> dict[str, str]:
    """The SQL of each revision in the output of `upgrade FROM:TO --sql`, by the revision that it leads to. What Alembic does for itself
    before the first one (its version table) is left out."""
    scripts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in printed.splitlines():
        if mark := _MARK.match(line):
            began = _take_begin(lines)
            lines = scripts[mark[2]] = began
        lines.append(line)
    return {revision: "\n".join(lines).strip() for revision, lines in scripts.items()}


def _take_begin(lines: list[str]) -> list[str]:
    """The transaction that the next revision runs in is opened before its mark."""
    while lines and not lines[-1].strip():
        lines.pop()
    return [lines.pop(), ""] if lines and lines[-1].strip().upper() == "BEGIN;" else []


def dropped(sql: str, *, besides: str) -> tuple[Dropped, ...]:
    """The tables and columns that the statements remove, in their order; `besides`: Alembic's own table. Columns of such a table are left
    out. A simple match: it sees what is written out, not what a procedure does."""
    text = _COMMENT.sub("", sql)
    tables = [bare(name) for listed in _DROP_TABLE.findall(text) for name in re.findall(_NAME, listed)]
    found = [Dropped(table) for table in dict.fromkeys(tables) if table != besides]
    for table, actions in _ALTER_TABLE.findall(text):
        found += [Dropped(bare(table), bare(column)) for column in _DROP_COLUMN.findall(actions) if bare(table) not in tables]
    return tuple(found)


def bare(name: str) -> str:
    """A table's name without quotes and without the usual schema, for comparing and showing."""
    return re.sub(r'"([^"]+)"|([\w$]+)', lambda part: part[1] or part[2].lower(), name).removeprefix("public.")
