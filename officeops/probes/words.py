"""Values for people."""

from __future__ import annotations

from officeops.probes.rules import Judged, Rule, Unit

_PROPOSALS = {"connections": "allowed", "memory": "limit_bytes", "disk": "total_bytes", "response": "cores"}


def shown(value: float | None, unit: Unit) -> str:
    """82 %, 1.24 s, 3 d, yes."""
    if value is None:
        return "?"
    match unit:
        case "yes":
            return "yes" if value >= 1 else "no"
        case "share":
            return f"{100 * value:.3g} %"
        case "seconds":
            return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.3g} s" if value < 600 else f"{value / 60:.0f} min"
        case "bytes":
            return _size(value)
        case "days":
            return f"{value:.1f} d"
        case "hours":
            return f"{value:.1f} h"
        case "count":
            return f"{value:.3g}"


def threshold(one: Judged) -> str:
    """≤ 80 %; empty when nothing is wrong whatever the value."""
    if one.limit is None:
        return ""
    if one.rule.unit == "yes":
        return "yes"
    return f"{'≥' if one.rule.low else '≤'} {shown(one.limit, one.rule.unit)}"


def action(one: Judged) -> str:
    """What a person should do, with the setting and the value that would help."""
    reading, rule = one.reading, one.rule
    values: dict[str, object] = {
        "name": reading.name,
        "subject": reading.subject,
        "value": shown(reading.value, rule.unit),
        "limit": shown(one.limit, rule.unit),
        "proposed": proposed(one),
        **{"allowed": 0.0, "cores": 0.0, **reading.facts},
    }
    return rule.action.format_map(values)


def proposed(one: Judged) -> float:
    """A value of the setting that the action names, with which the reading would be at three quarters of its limit."""
    reading, limit = one.reading, one.limit
    total = reading.facts.get(_PROPOSALS.get(reading.measure, ""), 0.0)
    if not total or not limit or reading.value is None:
        return 0.0
    wanted = total * reading.value / (0.75 * limit)
    match reading.measure:
        case "disk":
            return wanted / 1e9
        case "memory":
            return wanted / 1e6
        case "response":
            return float(-(-wanted // 1))
        case _:
            return float(-(-wanted // 10) * 10)


def sentence(one: Judged) -> str:
    """What is wrong, in one line."""
    reading, rule = one.reading, one.rule
    if reading.value is None:
        return f"{reading.name} could not be asked: {reading.detail}"
    if rule.unit == "yes":
        return f"{reading.name}: {reading.detail}" if reading.detail else f"{reading.name} is not well"
    return f"{reading.name} is {shown(reading.value, rule.unit)} ({_allowed(one, rule)})" + (
        f": {reading.detail}" if reading.detail else ""
    )


def _allowed(one: Judged, rule: Rule) -> str:
    return f"{'at least' if rule.low else 'at most'} {shown(one.limit, rule.unit)}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
