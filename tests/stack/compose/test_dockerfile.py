"""What a Dockerfile stands on, and what it runs."""

from __future__ import annotations

import pytest

from officeops.stack.compose.dockerfile import Bases, bases, commands

STAGES = """\
# syntax=docker/dockerfile:1
ARG PYTHON=python:3.11
ARG TAG
FROM --platform=linux/amd64 ${PYTHON} AS packages
RUN --mount=type=cache,target=/x pip install \\
    # a comment
    --quiet  requirements
FROM packages AS more
FROM debian:${TAG:-bookworm} as base
ARG PYTHON=of-a-stage
COPY --from=packages /x /x
RUN true
FROM base
"""


@pytest.mark.parametrize(
    ("text", "arguments", "target", "expected"),
    [
        (STAGES, {}, None, Bases(("python:3.11", "debian:bookworm"), "debian:bookworm")),
        (STAGES, {"PYTHON": "mine:1", "TAG": "trixie"}, None, Bases(("mine:1", "debian:trixie"), "debian:trixie")),
        (STAGES, {"TAG": None}, "more", Bases(("python:3.11",), "python:3.11")),
        ("FROM scratch\nCOPY x /x\n", {}, None, Bases((), None)),
        ("from alpine\nFROM 0\n", {}, None, Bases(("alpine",), "alpine")),
        ("", {}, None, Bases((), None)),
    ],
)
def test_the_images_below_are_found(text: str, arguments: dict[str, str | None], target: str | None, expected: Bases) -> None:
    assert bases(text, arguments, target) == expected


def test_what_it_runs_is_told_without_flags_and_breaks() -> None:
    assert commands(STAGES) == {"pip install --quiet requirements", "true"}
