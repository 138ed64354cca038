"""The format of `.env`: what a shell would read from it, without running a shell.

KEY=value, one a line; `export` before it is allowed. An unquoted value ends at white space and `#`. Between single quotes
every character stands for itself; between double quotes a backslash protects `"`, `\\`, `$` and a backquote. Nothing is expanded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from officeops.errors import Problem

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PROTECTED = re.compile(r'\\(["\\$`])')
_COMMENT = re.compile(r"(?:\s+#.*|\s*)")


@dataclass(frozen=True)
class Entry:
    """A key's value and where it stands. source: the file, or `(environment)` with line 0."""

    value: str
    line: int
    source: Path


def parse_env(file: Path, text: str) -> tuple[dict[str, Entry], list[Problem]]:
    """The entries of `text`, and every line that is none. Of a key that is there twice the first counts."""
    entries: dict[str, Entry] = {}
    problems = []
    for number, line in enumerate(lines_of(text), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped)
        if found is None:
            problems.append(Problem(file, number, "(no key)", "a line without KEY=", "KEY=value, a comment, or nothing"))
            continue
        key, value = found[1], _value(found[2])
        if key in entries:
            problems.append(Problem(file, number, key, f"the key a second time (first in line {entries[key].line})", "each key once"))
        elif value is None:
            problems.append(Problem(file, number, key, "quotes that do not match", "'value' or \"value\", then nothing or a comment"))
        elif not value.isprintable():
            problems.append(Problem(file, number, key, "a control character in the value", "printable characters"))
        else:
            entries[key] = Entry(value, number, file)
    return entries, problems


def lines_of(text: str) -> list[str]:
    """Lines as an editor counts them, without their ends. (`str.splitlines` also breaks at characters that a value may have.)"""
    return re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))


def quoted(value: str) -> str:
    """How `value` is written in `.env` so that `parse_env` and a shell read the same back."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def _value(raw: str) -> str | None:
    """None when the quotes do not match."""
    if raw[:1] not in ("'", '"'):
        return re.sub(r"(?:^|\s+)#.*$", "", raw, flags=re.DOTALL).rstrip()
    found = (_SINGLE if raw[0] == "'" else _DOUBLE).match(raw)
    if found is None or not _COMMENT.fullmatch(raw, found.end()):
        return None
    return found[1] if raw[0] == "'" else _PROTECTED.sub(r"\1", found[1])
