"""Figures over time as an image."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from officeops.chart import data_uri, over_time

BEGAN = datetime(2026, 4, 1, 20, 0, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def drawn(values: list[float], **given: float) -> ElementTree.Element:
    points = [(BEGAN + timedelta(days=day), value) for day, value in enumerate(values)]
    return ElementTree.fromstring(over_time("Disk <of> 事務所", points, unit="GB", zone=ZoneInfo("Asia/Tokyo"), **given))


def line(image: ElementTree.Element) -> list[tuple[float, float]]:
    found = image.find(f"{SVG}polyline")
    assert found is not None
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", found.attrib["points"])]


def words(image: ElementTree.Element) -> list[str]:
    return [str(one.text) for one in image.iter(f"{SVG}text")]


def test_more_is_drawn_higher_and_later_is_drawn_further_right() -> None:
    points = line(drawn([10, 20, 15]))
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[1][1] < points[2][1] < points[0][1]


def test_the_limit_is_above_all_that_is_below_it_and_inside_the_picture() -> None:
    image = drawn([10, 20], limit=100)
    (limit,) = [one for one in image.iter(f"{SVG}line") if "stroke-dasharray" in one.attrib]
    assert 0 < float(limit.attrib["y1"]) < min(y for _, y in line(image))


def test_times_are_those_of_the_zone_and_titles_are_text() -> None:
    found = words(drawn([10, 20]))
    assert "2026-04-02 05:00" in found
    assert "Disk <of> 事務所" in found


def test_the_scale_has_round_steps_beyond_the_highest_value() -> None:
    assert {"0 GB", "25 GB", "50 GB", "75 GB", "100 GB"} <= set(words(drawn([10, 20], limit=80)))
    assert {"0 GB", "0.5 GB", "1 GB", "1.5 GB", "2 GB"} <= set(words(drawn([1.2, 1.5])))


def test_one_figure_none_and_nothing_but_zeros_are_pictures_too() -> None:
    assert len(line(drawn([5]))) == 1
    assert len(line(drawn([0, 0]))) == 2
    assert "no figures yet" in words(drawn([]))


def test_the_address_holds_the_image() -> None:
    assert b64decode(data_uri("<svg/>").removeprefix("data:image/svg+xml;base64,")) == b"<svg/>"
