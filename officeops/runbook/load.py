"""Reading `runbook.yaml`: every error at once, with the line it is in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from officeops.errors import Problem
from officeops.runbook.cross import findings, nearest
from officeops.runbook.document import Document, Location, dotted, kind, read_document
from officeops.runbook.model import Runbook

VERSION = 1
_LONGEST = 60
# What stands for a key of the first level that is missing or wrong, so that the rest is checked all the same.
_STAND_INS: Mapping[str, Any] = {"version": VERSION, "stack": "x", "title": "x", "services": {"x": {"kind": "redis", "port": "REDIS_PORT"}}}
_NAMES = "a name: small letters, digits, _ and -, a letter first, at most 63"
_PATTERNS = {
    r"^[a-z][a-z0-9_-]{0,62}$": _NAMES,
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of a variable: letters, digits and _, no digit first",
    r"^[^\x00]*$": "text without the character U+0000",
    r"^(file:|s3://).+$": "file:PATH or s3://BUCKET/PREFIX?endpoint=URL",
    r"^/[!-~]*$": "a path from /, without spaces",
}
_KINDS = {
    "string_type": "text; in quotes where YAML sees something else",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "missing": "a value",
    "too_short": "at least one",
    "string_too_short": "some text",
}


def read_runbook(path: Path) -> tuple[Runbook | None, list[Problem]]:
    """The runbook, or None and every problem, in the order of lines."""
    document = read_document(path)
    raw, problems = document.value, list(document.problems)
    if not isinstance(raw, dict):
        if not problems:
            found = "nothing" if raw is None else f"{kind(raw)} where keys and values should be"
            problems = [Problem(path, 1, "(file)", found, "keys and values, as in the runbook.yaml that comes with this program")]
        return None, problems
    version = raw.get("version")
    if type(version) is int and version > VERSION:  # what else it says may be right there
        allowed = f"{VERSION}; a newer file needs a newer version of this program"
        return None, [Problem(path, document.line(("version",)), "version", str(version), allowed)]
    runbook, wrong, dropped = _validated(raw)
    refused = {problem.key for problem in problems}  # as YAML already: once is enough
    problems += [problem for problem in (_problem(path, document, one) for one in wrong) if problem.key not in refused]
    services = raw.get("services")
    for where, found, allowed in findings(runbook, list(services) if isinstance(services, dict) else ()):
        if not any(where[:length] in dropped for length in range(1, len(where) + 1)):
            problems.append(Problem(path, document.line(where), dotted(where), found, allowed))
    return (None, sorted(problems, key=lambda problem: problem.line)) if problems else (runbook, [])


def _validated(raw: Mapping[str, Any]) -> tuple[Runbook, list[Any], set[Location]]:
    """The runbook without what is wrong, what was wrong, and the places that were dropped for it."""
    wrong: list[Any] = []
    dropped: set[Location] = set()
    while True:
        stand_ins = {key: value for key, value in _STAND_INS.items() if (key,) in dropped}
        try:
            return Runbook.model_validate(stand_ins | _without(raw, dropped, ())), wrong, dropped
        except ValidationError as error:
            found = [one for one in error.errors() if not (one["type"] == "too_short" and one["input"])]  # its items are wrong, and said so
        # Later rounds only find what is missing because it was dropped in an earlier one.
        wrong = wrong or found
        dropped |= {_place_to_drop(one) for one in found}


def _place_to_drop(raw: Any) -> Location:
    """Nothing smaller than a mapping's key: what is left in a list keeps its positions."""
    where = _where(raw)
    whole = where[:-1] if raw["type"] == "missing" and len(where) > 1 else where
    return next((whole[:depth] for depth, part in enumerate(whole) if isinstance(part, int)), whole)


def _without(value: Any, dropped: Collection[Location], where: Location) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without(item, dropped, (*where, key)) for key, item in value.items() if (*where, key) not in dropped}


def _where(raw: Any) -> Location:
    return tuple(part for part in raw["loc"] if part != "[key]")


def _problem(path: Path, document: Document, raw: Any) -> Problem:
    where = _where(raw)
    return Problem(path, document.line(where), dotted(where), _found(raw, where), _allowed(raw, where))


def _found(raw: Any, where: Location) -> str:
    if raw["type"] == "missing":
        return "nothing"
    if raw["type"] == "extra_forbidden":
        return "an unknown key"
    value = raw["input"]
    if "environment" in where or isinstance(value, dict | list) or value is None:  # a variable may be a password, here by mistake
        return kind(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return repr(text) if isinstance(value, str) else f"{text} ({kind(value)})"


def _allowed(raw: Any, where: Location) -> str:
    context = raw.get("ctx", {})
    match raw["type"]:
        case "extra_forbidden":
            keys = _keys_at(where[:-1])
            return nearest(str(where[-1]), keys, f"one of {_listed(keys)}")
        case "string_pattern_mismatch":
            return _PATTERNS[context["pattern"]]
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "value_error":
            return str(context["error"])
        case other:
            return _KINDS.get(other) or str(raw["msg"]).removeprefix("Input should be ")


def _keys_at(where: Location) -> list[str]:
    """Keys that the schema has for the mapping at `where`."""
    schema = Runbook.model_json_schema()
    node: Any = schema
    for part in where:
        node = _resolved(schema, node)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part) or _values(node)
    return sorted(_resolved(schema, node).get("properties", {}))


def _values(node: Any) -> Any:
    return next(iter(node.get("patternProperties", {}).values()), {})


def _resolved(schema: Any, node: Any) -> Any:
    if "anyOf" in node:
        node = next(option for option in node["anyOf"] if "$ref" in option)
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
