"""Asking everything at once: no probe waits for another, none can hold a round up, and whatever one raises is a reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from officeops.probes.reading import ASKED, Probe, Reading


@dataclass
class _Asking:
    """A probe on its way."""

    probe: Probe
    began: float
    readings: list[Reading] = field(default_factory=list)
    trouble: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """In a thread of its own."""
        try:
            self.readings = list(self.probe.ask())
        except Exception as error:  # noqa: BLE001 - whatever it is: a probe that fails is something to be told, not to end with
            self.trouble = str(error).strip() or type(error).__name__
        finally:
            self.over.set()


class Asker:
    """Keeps what has not answered from being asked again: a thread that hangs is one thread."""

    def __init__(self) -> None:
        self._hanging: dict[str, _Asking] = {}

    def ask(self, probes: Sequence[Probe]) -> list[Reading]:
        """The readings of all probes, in their order. Of one that fails or is late there is one that says so."""
        self._hanging = {name: one for name, one in self._hanging.items() if not one.over.is_set()}
        asked = [self._hanging.get(probe.name) or self._begin(probe) for probe in probes]
        return [reading for one in asked for reading in self._end(one)]

    def _begin(self, probe: Probe) -> _Asking:
        one = _Asking(probe, time.monotonic())
        threading.Thread(target=one.run, name=f"probe {probe.name}", daemon=True).start()
        return one

    def _end(self, one: _Asking) -> list[Reading]:
        name = one.probe.name
        if not one.over.wait(max(0.0, one.began + one.probe.timeout - time.monotonic())):
            self._hanging[name] = one
            return [Reading(name, ASKED, None, f"no answer within {one.probe.timeout:g} s")]
        if one.trouble:
            return [Reading(name, ASKED, None, one.trouble)]
        return [*one.readings, Reading(name, ASKED, 1.0)]
