"""`docs/settings.md`: every key of `.env` as a table, from the model and, for Japanese readers, from `.env.example`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from officeops.settings.model import PORTS, SECRETS, Settings, is_secret

_EXPLAINED = re.compile(r"^# \[(host|release)\] (.+) / (.+)\n([A-Z_]+)=(.*)$", re.MULTILINE)
_SCOPES = {"host": "host / ホスト", "release": "release / リリース"}


@dataclass(frozen=True)
class Explained:
    """A key as `.env.example` has it."""

    key: str
    scope: str
    english: str
    japanese: str
    value: str


def explained(example: str) -> list[Explained]:
    """The keys of `.env.example` that have a comment `# [scope] English / 日本語` just above."""
    return [Explained(found[4], found[1], found[2], found[3], found[5]) for found in _EXPLAINED.finditer(example)]


def settings_page(example: str, made_by: str) -> str:
    """The page. example: the text of `.env.example`. made_by: the command that makes it."""
    rows = [
        (f"`{one.key}`", in_words(_node(one.key.lower())), _default(one.key.lower()), _SCOPES[one.scope], one.english, one.japanese)
        for one in explained(example)
    ]
    lines = [
        "# Settings / 設定",
        "",
        f"Made by `{made_by}` from `officeops/settings/model.py` and `.env.example`; do not edit.",
        "",
        "`.env` beside `runbook.yaml` holds what differs from host to host, and the secrets. `officeops up` makes it (mode 0600) from",
        "`.env.example` and generates the empty secrets; what is there is never changed. Variables of the process's environment with the",
        "same names go before it. All of it is checked before anything runs. Relative paths start at the folder of `.env`.",
        "",
        *table(("Key / キー", "Allowed / 値", "Default / 既定値", "Belongs to / 所属", "Meaning", "意味"), rows),
        "",
        'A value with spaces at its ends, quotes or `#` behind white space goes between `\'` or `"`; between `"` a backslash protects',
        '`"`, `\\`, `$` and a backquote. Nothing is expanded.',
        "",
    ]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line("---" for _ in head), *map(line, rows)]


def in_words(node: Any) -> str:
    """What a JSON Schema's node without references allows, in a few words."""
    return " or ".join(dict.fromkeys(_alternatives(node)))


def _alternatives(node: Any) -> Iterator[str]:
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            yield from _alternatives(option)
    if "const" in node:
        yield f"`{node['const']}`"
    elif "enum" in node:
        yield from (f"`{one}`" for one in node["enum"])
    elif node.get("type") in ("integer", "number"):
        yield ("a whole number" if node["type"] == "integer" else "a number") + _bounds(node)
    elif node.get("type") == "boolean":
        yield "`true` or `false`"
    elif node.get("type") == "array":
        yield "a list of " + in_words(node["items"]) + (", at least one" if node.get("minItems") else "")
    elif node.get("type") == "string":
        yield "a path" if node.get("format") == "path" else "text"
    elif node.get("type") == "object":
        yield "keys and values"


def _bounds(node: Any) -> str:
    bounds = (("exclusiveMinimum", "above"), ("minimum", "from"), ("exclusiveMaximum", "below"), ("maximum", "to"))
    return "".join(f" {word} {node[key]:g}" for key, word in bounds if key in node)


def _node(name: str) -> Any:
    if name in PORTS:
        return {"type": "integer", "minimum": 1, "maximum": 65535}
    node = Settings.model_json_schema()["properties"][name]
    # In .env a list is its words.
    return {"type": "string"} if node.get("type") == "array" else node


def _default(name: str) -> str:
    if name in SECRETS:
        return "generated"
    value = Settings.model_fields[name].get_default()
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    if isinstance(value, bool):
        value = str(value).lower()
    if value is not None and is_secret(name):
        value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return f"`{value}`" if value not in (None, "") else ""
