"""The unit that `officeops up --print-unit` prints, for systemd."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import sys
from pathlib import Path

from officeops.process import Command, run
from tests.support.site import PROJECT, RUNBOOK
from tests.support.stack import make_stack_site


def officeops(*arguments: str) -> str:
    """What the command prints."""
    return run(Command((sys.executable, "-m", "officeops_cli.main", *arguments), cwd=PROJECT), timeout=60).stdout.decode()


def words(line: str) -> list[str]:
    """A command line of a unit, as systemd reads it."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def test_it_starts_and_stops_what_is_in_this_folder_whatever_its_name(folder: Path) -> None:
    site = make_stack_site(folder / 'an "odd" folder of 100 % and $HOME', folder, edit=lambda _: RUNBOOK)
    unit = officeops("up", "--print-unit", "--dir", str(site.config.folder))
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment]
    parsed.read_string(unit)
    service = parsed["Service"]
    assert (service["Type"], service["RemainAfterExit"]) == ("oneshot", "yes")
    start, stop = words(service["ExecStart"]), words(service["ExecStop"])
    assert start == [sys.executable, "-m", "officeops_cli.main", "up", "--dir", str(site.config.folder)]
    assert "Nothing of it runs any more" in run(Command(tuple(stop), cwd=Path("/")), timeout=60).stderr


def test_systemd_understands_it(folder: Path) -> None:
    checker = shutil.which("systemd-analyze")
    site = make_stack_site(folder / "office of 100 % and $HOME", folder, edit=lambda _: RUNBOOK)
    unit = folder / "office.service"
    unit.write_text(officeops("up", "--print-unit", "--dir", str(site.config.folder)))
    if checker is not None:
        said = run(Command((checker, "verify", "--man=no", str(unit))), timeout=60, ok=range(256)).stderr
        assert not re.search(r"office\.service", said), said
