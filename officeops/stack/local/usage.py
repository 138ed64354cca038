"""CPU and memory of running programs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain

from officeops.stack.port import Usage

_SAMPLE_S = 0.2


def measure(programs: Iterable[tuple[str, int]]) -> list[Usage]:
    """One for each service, with the children of all its programs. programs: service and process id."""
    import psutil

    families: dict[str, list[psutil.Process]] = {}
    for service, pid in programs:
        try:
            process = psutil.Process(pid)
            families.setdefault(service, []).extend([process, *process.children(recursive=True)])
        except psutil.NoSuchProcess:
            continue
    for process in chain.from_iterable(families.values()):
        _cpu(process)
    time.sleep(_SAMPLE_S)
    return [Usage(service, sum(map(_cpu, family)), sum(map(_memory, family))) for service, family in families.items()]


def _cpu(process: object) -> float:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return process.cpu_percent() / 100
    except psutil.Error:
        return 0.0


def _memory(process: object) -> int:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
