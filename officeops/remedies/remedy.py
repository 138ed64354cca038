"""What a remedy is. One of your own is a class like those in officeops/remedies/ready, in the file that the runbook names (remedies.file):

from officeops.remedies import Patient, Remedy, Step

class Queue(Remedy):
    name = "queue"

    def fits(self, patient):
        return patient.name == "backend.queue_length"

    def diagnose(self, patient):
        return {"log": patient.last_words(50)}

    def ladder(self, patient):
        return [Step("restart", lambda: patient.site.stack.restart(patient.subject))]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from officeops.errors import OfficeOpsError

if TYPE_CHECKING:
    from officeops.runbook import Service
    from officeops.site import Site


@dataclass(frozen=True)
class Step:
    """A rung of a ladder. do: does it; what it returns is noted. why_not: why it makes no sense now, empty when it does. seconds: how long
    the probe may take to be well afterwards, None: the runbook's. asks: a person approves it in any case."""

    name: str
    do: Callable[[], object]
    why_not: Callable[[], str] = lambda: ""
    seconds: float | None = None
    asks: bool = False


@dataclass(frozen=True)
class Patient:
    """What is not well. name: of the reading that says so. measure, detail, facts: of that reading."""

    site: Site
    name: str
    measure: str
    detail: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.name.partition(".")[0]

    @property
    def service(self) -> Service | None:
        """The service of the runbook, None when it is about something else."""
        return self.site.config.runbook.services.get(self.subject)

    def last_words(self, count: int, service: str | None = None) -> str:
        """The last lines of a service's log."""
        try:
            return "\n".join(line.text for line in self.site.stack.logs(service or self.subject, tail=count))
        except OfficeOpsError as error:
            return f"(the log cannot be read: {error})"


class Remedy(ABC):
    """Found by its name, chosen by the first that fits. mode: unless the runbook says otherwise."""

    name: ClassVar[str]
    mode: ClassVar[Literal["auto", "ask"]] = "auto"

    @abstractmethod
    def fits(self, patient: Patient) -> bool:
        """Whether this is its case."""

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """What is kept for a person, by title; taken before anything is done. One that fails is said in its place."""
        return {"log": patient.last_words(50)} if patient.service else {}

    @abstractmethod
    def ladder(self, patient: Patient) -> Sequence[Step]:
        """What is tried, one after the other, until the probe is well. Behind the last one a person is called."""
