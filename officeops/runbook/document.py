"""YAML with the line of everything in it. What is broken, ambiguous or hostile is a problem: never a hang, never a traceback."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from officeops.errors import Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 20_000  # with what aliases repeat: ten lines of them can stand for a billion values
_TAG = "tag:yaml.org,2002:"
_TAGS: Mapping[type[Node], Collection[str]] = {
    MappingNode: {f"{_TAG}map"},
    SequenceNode: {f"{_TAG}seq"},
    ScalarNode: {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")},
}
Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """value: dicts with text as keys, lists, scalars; None when nothing could be made of the file. lines: from 1."""

    value: Any
    lines: Mapping[Location, int]
    problems: tuple[Problem, ...]

    def line(self, where: Location) -> int:
        """Of the thing itself, or of the nearest thing around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def read_document(file: Path) -> Document:
    """The one YAML document of `file`."""
    try:
        with file.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        return _nothing(Problem(file, 0, "(file)", f"a file that cannot be read ({error.strerror})", "a YAML file in UTF-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return _nothing(Problem(file, line, "(file)", "bytes that are no UTF-8", "a YAML file in UTF-8"))
    if len(content) > MAX_BYTES:
        return _nothing(Problem(file, 0, "(file)", f"more than {MAX_BYTES // 1024} KiB", "a file that people can read"))
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        walk = _Walk(file, loader)
        value = walk.value(root, ()) if root else None
    except yaml.YAMLError as error:
        return _nothing(_syntax(file, text, error))
    return Document(value, walk.lines, tuple(walk.problems))


def dotted(where: Location) -> str:
    """`services.backend.depends_on.0`."""
    return ".".join(map(str, where))


def _nothing(problem: Problem) -> Document:
    return Document(None, {}, (problem,))


def _syntax(file: Path, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(file, line, "(syntax)", f"a character that YAML does not allow (U+{error.character:04X})", "printable characters")
    assert isinstance(error, yaml.MarkedYAMLError)
    mark, begun = error.problem_mark, error.context_mark
    found = (error.problem or "something that is no YAML").removeprefix("found ").removeprefix("but found ")
    if begun is not None and mark is not None and begun.line != mark.line:  # an open bracket or quote shows far below
        found += f" ({error.context}, which begins in line {begun.line + 1})"
    return Problem(file, mark.line + 1 if mark else 0, "(syntax)", found, "YAML, indented with spaces")


class _Loader(yaml.SafeLoader):
    """Refuses to nest deeper than Python could."""

    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """A node; ComposerError when it is too deep."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _too_much(f"more than {MAX_DEPTH} levels", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _too_much(what: str, mark: Any) -> ComposerError:
    return ComposerError(None, None, what, mark)


class _Walk:
    """From nodes to values, remembering lines. Merged keys (<<) count where they are written."""

    def __init__(self, file: Path, loader: yaml.SafeLoader) -> None:
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self._file, self._loader = file, loader
        self._left = MAX_VALUES
        self._said: set[tuple[int, str]] = set()

    def value(self, node: Node, where: Location) -> Any:
        """The value of `node`, which stands at `where`."""
        self._count(node, len(where))
        if node.tag not in _TAGS[type(node)]:
            self._say(node, where, f"the tag {node.tag.replace(_TAG, '!!')}", "no tags")
        if isinstance(node, MappingNode):
            return {name: self._item(value, (*where, name), line) for name, (line, value) in self._pairs(node, where, 0).items()}
        if isinstance(node, SequenceNode):
            return [self._item(value, (*where, number), _line(value)) for number, value in enumerate(node.value)]
        return self._scalar(node, where)

    def _item(self, node: Node, where: Location, line: int) -> Any:
        self.lines[where] = line
        return self.value(node, where)

    def _pairs(self, node: MappingNode, where: Location, merges: int) -> dict[str, tuple[int, Node]]:
        """Keys with their lines and values. A mapping's own go before merged ones."""
        self._count(node, merges)
        own: dict[str, tuple[int, Node]] = {}
        merged: dict[str, tuple[int, Node]] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for one in self._merged(value, where):
                    merged = self._pairs(one, where, merges + 1) | merged
                continue
            name = self._name(key, where)
            if name in own:
                self._say(key, (*where, name), f"the key a second time (first in line {own[name][0]})", "each key once")
            elif name is not None:
                own[name] = (_line(key), value)
        return merged | own

    def _merged(self, node: Node, where: Location) -> Iterator[MappingNode]:
        for one in node.value if isinstance(node, SequenceNode) else [node]:
            if isinstance(one, MappingNode):
                yield one
            else:
                self._say(one, (*where, "<<"), "something else than keys and values to merge", "<<: *name of a mapping")

    def _name(self, key: Node, where: Location) -> str | None:
        """None when it cannot be one."""
        if not isinstance(key, ScalarNode):
            self._say(key, where, "a list or a mapping as a key", "a name, then a colon")
            return None
        value = self._scalar(key, where)
        if not isinstance(value, str):
            found = f"the key {key.value}, which YAML reads as {kind(value)}" if key.value else "an empty key"
            self._say(key, where, found, f'text: "{key.value}" in quotes' if key.value else "a name, then a colon")
        return str(key.value)

    def _scalar(self, node: Node, where: Location) -> Any:
        if node.tag not in _TAGS[ScalarNode]:
            return str(node.value)
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # 2026-13-01, !!int x, a number of 5,000 digits
            self._say(node, where, f"a value that YAML refuses ({str(error).partition(';')[0]})", "text in quotes")
            return str(node.value)

    def _count(self, node: Node, depth: int) -> None:
        self._left -= 1
        if depth > MAX_DEPTH:
            raise _too_much(f"more than {MAX_DEPTH} levels, or a value inside itself", node.start_mark)
        if self._left < 0:
            raise _too_much(f"more than {MAX_VALUES} values, counting what aliases repeat", node.start_mark)

    def _say(self, node: Node, where: Location, found: str, allowed: str) -> None:
        if (node.start_mark.index, found) not in self._said:  # aliases come by more than once
            self._said.add((node.start_mark.index, found))
            self.problems.append(Problem(self._file, _line(node), dotted(where) or "(file)", found, allowed))


def kind(value: object) -> str:
    """What YAML made of something, in a person's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a yes or no"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case dict():
            return "keys and values"
        case list():
            return "a list"
        case _:
            return "a date" if hasattr(value, "isoformat") else "something else"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
