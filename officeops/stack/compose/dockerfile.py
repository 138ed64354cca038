"""What a Dockerfile says of the images that it stands on, and of what it runs. Pure. https://docs.docker.com/reference/dockerfile/"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_NOTHING = "scratch"  # no image: an empty one
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")


@dataclass(frozen=True)
class Bases:
    """all: the images that it is built on, in order. last: the one whose layers are in the result, None for an empty one."""

    all: tuple[str, ...]
    last: str | None


def bases(text: str, arguments: Mapping[str, str | None], target: str | None = None) -> Bases:
    """arguments: those of the build, which come before the file's own defaults. target: the stage that is built, default: the last one."""
    values: dict[str, str] = {}
    stages: dict[str, str | None] = {}  # by name and by number: the image that each stands on
    found: list[str] = []
    last: str | None = None
    number = 0
    for word, rest in _instructions(text):
        if word == "ARG" and not stages:  # later ones are for a stage, and no FROM sees them
            name, _, default = rest.partition("=")
            values[name.strip()] = arguments.get(name.strip()) or default.strip().strip("\"'")
        elif word == "FROM":
            parts = [part for part in rest.split() if not part.startswith("--")]
            image = _filled(parts[0], values)
            last = stages.get(image.lower(), None if image == _NOTHING else image)
            if last == image and image not in found:
                found.append(image)
            name = parts[2].lower() if len(parts) == 3 else ""
            stages[name] = stages[str(number)] = last
            number += 1
            if target and name == target.lower():
                break
    return Bases(tuple(found), last)


def commands(text: str) -> set[str]:
    """What it runs, each as one line with single spaces and without its flags."""
    return {plain(re.sub(r"^(--\S+\s+)+", "", rest)) for word, rest in _instructions(text) if word == "RUN"}


def plain(command: str) -> str:
    """A command with single spaces."""
    return " ".join(command.split())


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word.upper(), rest.strip()


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[3]) or found[2] or "", text)
