"""Where values are going, and since when they are wrong: from the rounds before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from officeops.probes.rules import Judged

if TYPE_CHECKING:
    from officeops.ledger.watching import Sample

_BARS = "▁▂▃▄▅▆▇█"
_STEADY = 0.05  # of the larger one: less is no trend


def trend(one: Judged, history: Sequence[Sample]) -> float | None:
    """The value's difference to the mean of the last hour's rounds; None when there is nothing to compare."""
    earlier = [value for sample in history[-60:] if (value := sample.values.get(one.reading.name)) is not None]
    if one.reading.value is None or not earlier:
        return None
    return round(one.reading.value - sum(earlier) / len(earlier), 6)


def arrow(one: Judged, history: Sequence[Sample]) -> str:
    """↑ ↓ → or nothing."""
    change = trend(one, history)
    if change is None or one.reading.value is None:
        return ""
    largest = max(abs(one.reading.value), abs(one.reading.value - change))
    return "→" if not largest or abs(change) / largest < _STEADY else "↑" if change > 0 else "↓"


def since(one: Judged, history: Sequence[Sample]) -> str | None:
    """When the first of the rounds was in which it is wrong without a break, as ISO 8601; None when all is well, or it was not before."""
    if one.ok:
        return None
    began = None
    for sample in reversed(history):
        if one.reading.name not in sample.wrong:
            break
        began = sample.at
    return began


def sparkline(values: Sequence[float | None]) -> str:
    """▁▂▅█, with a dot where there is nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join("·" if value is None else _BARS[int((value - low) / span * (len(_BARS) - 1))] for value in values)
