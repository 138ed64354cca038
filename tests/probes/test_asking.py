"""Asking everything at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from officeops.probes import Probe, Reading
from officeops.probes.asking import Asker


def answers(name: str, seconds: float = 0.0) -> Probe:
    def ask() -> Iterator[Reading]:
        time.sleep(seconds)
        yield Reading(f"{name}.value", "count", 1.0)

    return Probe(name, 2.0, ask)


def test_probes_do_not_wait_for_each_other() -> None:
    began = time.monotonic()
    found = Asker().ask([answers(f"p{number}", 0.3) for number in range(20)])
    assert time.monotonic() - began < 3
    assert [one.value for one in found] == [1.0] * 40


def test_a_probe_that_raises_anything_could_not_be_asked() -> None:
    def ask() -> Iterator[Reading]:
        raise ZeroDivisionError("nobody foresaw this")
        yield

    found = Asker().ask([Probe("broken", 1.0, ask), answers("sound")])
    assert found[0] == Reading("broken", "asked", None, "nobody foresaw this")
    assert found[1].value == 1.0


def test_a_probe_that_hangs_is_said_to_and_is_not_asked_again_before_it_ends() -> None:
    begun, release = [], threading.Event()

    def ask() -> Iterator[Reading]:
        begun.append(1)
        release.wait(20)
        yield Reading("slow.value", "count", 1.0)

    asker, slow = Asker(), Probe("slow", 0.1, ask)
    for _ in range(3):
        (found,) = asker.ask([slow])
        assert found.value is None
        assert found.detail == "no answer within 0.1 s"
    assert len(begun) == 1
    release.set()
    deadline = time.monotonic() + 10
    while asker.ask([Probe("slow", 1.0, ask)])[0].value is None:
        assert time.monotonic() < deadline
