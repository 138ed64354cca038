"""What differs between two builds of a release. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from officeops.stack.port import Part


@dataclass(frozen=True)
class Change:
    """part: of the release. kind: system, python (packages) or base (image). before, after: versions or ids, None where there was or is
    none."""

    part: str
    kind: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Changes:
    """all: what differs. bytes: sizes before and after, by part. unknown: what could not be told, for people."""

    all: tuple[Change, ...] = ()
    bytes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def compare(before: Mapping[str, Part], after: Mapping[str, Part]) -> Changes:
    """Sizes alone are no change: a build of the same is never the same to the byte."""
    parts = list(dict.fromkeys([*before, *after]))
    nothing = Part({}, {})
    found = tuple(one for part in parts for one in _of(part, before.get(part, nothing), after.get(part, nothing)))
    sizes = {part: (before.get(part, nothing).bytes, after.get(part, nothing).bytes) for part in parts}
    unknown = tuple(
        f"{part} does not say which {kind} packages it has"
        for part, one in after.items()
        for kind in ("system", "python")
        if getattr(one, kind) is None
    )
    return Changes(found, sizes, unknown)


def _of(part: str, before: Part, after: Part) -> Iterator[Change]:
    for kind, old, new in (
        ("base", before.bases, after.bases),
        ("system", before.system, after.system),
        ("python", before.python, after.python),
    ):
        old, new = old or {}, new or {}
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield Change(part, kind, name, old.get(name), new.get(name))
