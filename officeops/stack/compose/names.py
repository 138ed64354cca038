"""What Compose calls the runbook's services: a rolled one is two of them, one for each colour; any other has its own name. Pure."""

from __future__ import annotations

from officeops.runbook.model import Runbook
from officeops.stack.port import COLOURS, Colour


def named(runbook: Runbook, service: str, colour: Colour) -> str:
    """The Compose service of one of the runbook's; the colour counts for a rolled one only."""
    return f"{service}-{colour}" if runbook.services[service].rolled else service


def all_of(runbook: Runbook, service: str) -> tuple[str, ...]:
    """The Compose services of one of the runbook's, blue first."""
    return tuple(dict.fromkeys(named(runbook, service, colour) for colour in COLOURS))


def in_colour(runbook: Runbook, colour: Colour) -> list[str]:
    """The Compose services that are the rolled ones in this colour."""
    return [named(runbook, service, colour) for service in runbook.rolled()]


def everything(runbook: Runbook, colour: Colour) -> list[str]:
    """The Compose services of the whole runbook, the rolled ones in this colour."""
    return [named(runbook, service, colour) for service in runbook.services]
