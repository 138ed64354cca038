"""What differs between two builds, and what a scanner found."""

from __future__ import annotations

import json

import pytest

from officeops.errors import OfficeOpsError
from officeops.stack.port import Part
from officeops.upkeep.changes import Change, compare
from officeops.upkeep.scan import counted

OLD = Part({"libc6": "2.36", "gone": "1"}, {"idna": "3.7"}, {"python:3.11": "sha256:1"}, 100)


def test_packages_and_bases_are_compared_by_name() -> None:
    new = Part({"libc6": "2.36", "added": "1"}, {"idna": "3.10"}, {"python:3.11": "sha256:2"}, 120)
    found = compare({"backend": OLD}, {"backend": new})
    assert found.all == (
        Change("backend", "base", "python:3.11", "sha256:1", "sha256:2"),
        Change("backend", "system", "added", None, "1"),
        Change("backend", "system", "gone", "1", None),
        Change("backend", "python", "idna", "3.7", "3.10"),
    )
    assert found.bytes == {"backend": (100, 120)}


def test_another_size_alone_is_no_change() -> None:
    found = compare({"backend": OLD}, {"backend": Part(OLD.system, OLD.python, OLD.bases, 101)})
    assert (found.all, found.bytes) == ((), {"backend": (100, 101)})


def test_what_cannot_be_told_is_said_and_the_rest_is_compared() -> None:
    found = compare({"web": Part(None, None, {"web": "1"})}, {"web": Part(None, {}, {"web": "2"})})
    assert [one.kind for one in found.all] == ["base"]
    assert found.unknown == ("web does not say which system packages it has",)


def test_vulnerabilities_are_counted_by_severity() -> None:
    severities = [{"Severity": "HIGH"}, {"Severity": "HIGH"}, {}]
    assert counted(json.dumps({"Results": [{"Vulnerabilities": severities}, {"Vulnerabilities": None}]})) == {"HIGH": 2, "UNKNOWN": 1}
    assert counted(json.dumps({"Results": None})) == {}
    with pytest.raises(OfficeOpsError, match="did not print its report"):
        counted("FATAL")
