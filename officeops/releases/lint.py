"""What in a migration's SQL is dangerous while a release runs: squawk (https://squawkhq.com/docs/rules), without its matters of taste."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from officeops.process import Command, run
from officeops.releases.sql import bare

_LINT_S = 60.0
# Not dangerous for what runs. Everything else is, also the rules of a newer squawk. docs/decisions/0012
_TASTE = frozenset(
    {
        "prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-identity", "prefer-robust-stmts", "prefer-text-field",
        "prefer-timestamptz", "ban-char-field", "identifier-too-long", "require-enum-value-ordering", "require-table-schema",
        "transaction-nesting",  # Alembic opens and ends transactions itself
        # Both are given from outside: officeops limits the wait for locks (`releases.lock_timeout_ms`) and the whole migration.
        "require-lock-timeout", "require-statement-timeout", "require-timeout-settings",
    }
)  # fmt: skip
_NAME = r'((?:(?:"[^"]+"|[\w$]+)\.)?(?:"[^"]+"|[\w$]+))'
_CREATED = re.compile(
    rf"\bCREATE\s+(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED)\s+)*TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}", re.IGNORECASE
)
_CHANGED = re.compile(
    rf"^\s*(?:ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?{_NAME}|CREATE\s+(?:UNIQUE\s+)?INDEX\b.*?\bON\s+(?:ONLY\s+)?{_NAME})",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Finding:
    """A statement that may break or block the release that runs. line: of the revision's SQL, from 1. rule: squawk's name of it."""

    revision: str
    line: int
    rule: str
    message: str
    sql: str


def lint(scripts: Mapping[str, str]) -> tuple[Finding, ...]:
    """The dangers in the SQL of some revisions, given by their ids in the order in which they are applied together.

    Nothing about tables that the same revisions create: nobody uses them yet. A comment `-- squawk-ignore RULE` before a statement silences
    a rule there. Raises CommandError when squawk cannot be run.
    """
    if not scripts:
        return ()
    # One text, since a transaction may span revisions.
    text = "\n".join(scripts.values())
    begins = [0, *accumulate(script.count("\n") + 1 for script in scripts.values())]
    created = {bare(name) for name in _CREATED.findall(text)}
    found = [_finding(raw, text, list(zip(begins, scripts, strict=False))) for raw in _squawk(text) if raw["rule_name"] not in _TASTE]
    return tuple(finding for finding in found if _changed(finding.sql) not in created)


def _squawk(text: str) -> list[dict[str, Any]]:
    program = Path(sysconfig.get_path("scripts")) / "squawk"
    # Not here: a .squawk.toml in the working directory or above it would change what is found.
    command = Command((str(program), "--reporter", "json", "--stdin-filepath", "migration.sql"), cwd=Path("/"))
    printed: list[dict[str, Any]] = json.loads(run(command, timeout=_LINT_S, stdin=text.encode(), ok=(0, 1)).stdout)
    return printed


def _finding(raw: Mapping[str, Any], text: str, begins: Sequence[tuple[int, str]]) -> Finding:
    """begins: the line, from 0, on which the SQL of each revision begins."""
    begin, revision = next(one for one in reversed(begins) if one[0] <= raw["line"])
    message = " ".join(part for part in (raw["message"], raw["help"]) if part)
    return Finding(revision, raw["line"] - begin + 1, raw["rule_name"], message, _statement(text.encode(), raw["line"], raw["column"]))


def _statement(text: bytes, line: int, column: int) -> str:
    """The statement around a position; line and column (in bytes) count from 0."""
    at = sum(len(one) + 1 for one in text.split(b"\n")[:line]) + column
    begin, end = text.rfind(b";", 0, at) + 1, text.find(b";", at)
    lines = text[begin : end if end >= 0 else None].decode(errors="replace").strip().splitlines()
    return "\n".join(one for one in lines if not one.lstrip().startswith("--")).strip()


def _changed(statement: str) -> str | None:
    """The table that a statement changes or puts an index on."""
    match = _CHANGED.match(statement)
    return bare(match[1] or match[2]) if match else None
