"""The format of `.env`: KEY=value, one a line, nothing expanded, no shell run.

`export` before a key is allowed. Between single quotes every character stands for itself; between double quotes a backslash protects
`"`, `\\`, `$` and a backquote. A value without quotes is taken as it stands, up to white space with a `#` behind it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from officeops.errors import Problem

_BLANKS = " \t"
_BOM = "\ufeff"
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=(.*)", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PROTECTED = re.compile(r'\\(["\\$`])')
_COMMENT = re.compile(r"[ \t]+#.*|[ \t]*", re.DOTALL)


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
        if not line.strip() or line.lstrip(_BLANKS).startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            problems.append(Problem(file, number, "(no key)", "a line without KEY=", "KEY=value, a comment, or nothing"))
            continue
        key, parts = found[1], _parts(found[2])
        if key in entries:
            problems.append(Problem(file, number, key, f"the key a second time (first in line {entries[key].line})", "each key once"))
        elif parts is None:
            problems.append(Problem(file, number, key, "quotes that do not match", "'value' or \"value\", then nothing or a comment"))
        elif unseen := invisible(parts[0]):
            problems.append(Problem(file, number, key, f"a character that nobody can see ({unseen})", "printable characters"))
        else:
            entries[key] = Entry(parts[0], number, file)
    return entries, problems


def lines_of(text: str) -> list[str]:
    """Lines as an editor counts them, without their ends. (`str.splitlines` also breaks at characters that a value may have.)"""
    return re.split(r"\r\n|\n|\r", text.removeprefix(_BOM))


def invisible(value: str) -> str:
    """The first character that has no business in a value, as U+XXXX: a control character, a zero-width one. Empty when there is none."""
    unseen = (character for character in value if not character.isprintable() and unicodedata.category(character) != "Zs")
    return next((f"U+{ord(character):04X}" for character in unseen), "")


def quoted(value: str) -> str:
    """How `value` is written in `.env` so that `parse_env` and a shell read the same back. Raises ValueError when it has line ends or the like."""
    if unseen := invisible(value):
        raise ValueError(f"a value of .env cannot have {unseen}")
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def with_value(text: str, key: str, value: str) -> str:
    """`text` with `value` (written as `quoted` does) behind the key's `=`: in its line, of which all else stays, or in one more at the end."""
    bom = _BOM if text.startswith(_BOM) else ""
    parts = re.split(r"(\r\n|\n|\r)", text.removeprefix(_BOM))  # lines at even places, their ends at odd ones
    for place in range(0, len(parts), 2):
        found = _LINE.fullmatch(parts[place])
        if found and found[1] == key:
            comment = (_parts(found[2]) or ("", ""))[1]
            parts[place] = parts[place][: found.start(2)] + value + comment
            return bom + "".join(parts)
    end = parts[1] if len(parts) > 1 else "\n"
    return text + (end if parts[-1] else "") + f"{key}={value}{end}"


def _parts(raw: str) -> tuple[str, str] | None:
    """What stands behind `=` as a value and a comment. None when the quotes do not match."""
    text = raw.lstrip(_BLANKS)
    if text[:1] not in ("'", '"'):
        comment = re.search(r"[ \t]#", raw)  # without white space before it, # belongs to the value
        end = len(raw[: comment.start()].rstrip(_BLANKS)) if comment else len(raw)
        return raw[:end].strip(_BLANKS), raw[end:]
    found = (_SINGLE if text[0] == "'" else _DOUBLE).match(text)
    if found is None or not _COMMENT.fullmatch(text, found.end()):
        return None
    return found[1] if text[0] == "'" else _PROTECTED.sub(r"\1", found[1]), text[found.end() :]
