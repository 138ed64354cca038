"""A figure over time as a small SVG, which the Prefect UI shows as an image: no program, no fonts, no network."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from html import escape

_WIDTH, _HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 32
_TEXT = 'font-family="sans-serif" font-size="12" fill="#555"'
Points = Sequence[tuple[datetime, float]]


def over_time(title: str, points: Points, *, unit: str, zone: tzinfo, limit: float | None = None) -> str:
    """An SVG of `points`, oldest first; `limit` is drawn as a line that is not to be reached. An empty chart says that it is one."""
    lines = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>', _text(_LEFT, 22, title, 'font-weight="bold"')]
    if points:
        lines += _drawn(points, unit, zone, limit)
    else:
        lines.append(_text(_WIDTH / 2, _HEIGHT / 2, "no figures yet", 'text-anchor="middle"'))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">{"".join(lines)}</svg>'


def data_uri(svg: str) -> str:
    """An address that holds the image itself."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def _drawn(points: Points, unit: str, zone: tzinfo, limit: float | None) -> Iterator[str]:
    first, last = points[0][0], max(points[-1][0], points[0][0] + timedelta(hours=1))
    top = _round_top(max([value for _, value in points] + ([limit] if limit is not None else [])))

    def x(at: datetime) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * ((at - first) / (last - first)), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top, 1)

    for part in range(5):
        value = top * part / 4
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}" stroke="#e5e5e5"/>'
        yield _text(_LEFT - 8, y(value) + 4, f"{value:.3g} {unit}", 'text-anchor="end"')
    for part, anchor in ((0, "start"), (1, "middle"), (2, "end")):
        at = first + (last - first) * part / 2
        yield _text(x(at), _HEIGHT - 10, f"{at.astimezone(zone):%Y-%m-%d %H:%M}", f'text-anchor="{anchor}"')
    if limit is not None:
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(limit)}" y2="{y(limit)}" stroke="#c0392b" stroke-dasharray="6 4"/>'
    line = " ".join(f"{x(at)},{y(value)}" for at, value in points)
    yield f'<polyline points="{line}" fill="none" stroke="#2457c5" stroke-width="2"/>'
    yield f'<circle cx="{x(points[-1][0])}" cy="{y(points[-1][1])}" r="3.5" fill="#2457c5"/>'
    yield _text(_WIDTH - _RIGHT, 22, f"now {points[-1][1]:.3g} {unit}", 'text-anchor="end"')


def _round_top(most: float) -> float:
    """Four round steps that reach beyond the highest value."""
    if most <= 0:
        return 1.0
    least = most * 1.05 / 4
    power = 10.0 ** math.floor(math.log10(least))
    return 4 * next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= least)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" {_TEXT} {more}>{escape(text)}</text>'
