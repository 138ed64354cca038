"""What no single key of `runbook.yaml` can show: names that must exist, circles, parts that must be there together."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter

from officeops.probes.rules import RULES
from officeops.runbook.document import Location
from officeops.runbook.model import ComposeCommand, LocalProgram, Runbook, Service
from officeops.runbook.placeholders import named
from officeops.runbook.watching import WebProbe
from officeops.settings.model import PORTS, Settings, is_secret

# Ports of .env that belong to no service of the runbook.
_OTHERS = ("https_port", "caddy_admin_port", "prefect_port", "prefect_postgres_port")
_SERVICE_PORTS = tuple(port.upper() for port in PORTS if port not in _OTHERS)
_OWN = ("release", "venv", "sha", "caddy", "python")
Finding = tuple[Location, str, str]  # where, found, allowed


def findings(runbook: Runbook, names: Collection[str]) -> Iterator[Finding]:
    """names: of all services in the file, also of those that are not in `runbook` because they have errors of their own."""
    for name, service in runbook.services.items():
        yield from _neighbours(("services", name), service, names)
        embedded = runbook.application.compose is None
        yield from _port(("services", name, "port"), service.port, service, embedded=embedded)
        if service.rolled:
            yield from _port(("services", name, "green_port"), service.green_port, service, embedded=embedded)
        yield from _parts(("services", name), service, embedded=embedded)
        if service.local is not None:
            yield from _placeholders(("services", name, "local"), service.local, (*_OWN, "port"))
    for key, program in (("migrate", runbook.application.migrate), ("seed", runbook.application.seed)):
        if program is not None:
            yield from _placeholders(("application", key), program, _OWN)
    yield from _compose(runbook, names)
    for name, volume in runbook.volumes.items():
        for position, user in enumerate(volume.services):
            yield from _service(("volumes", name, "services", position), user, names)
    for position, smoke in enumerate(runbook.releases.smoke):
        here = ("releases", "smoke", position, "service")
        yield from _service(here, smoke.service, names)
        if smoke.service in runbook.services and not runbook.services[smoke.service].rolled:
            yield here, repr(smoke.service), "a rolled service: only such are asked directly"
    for key, asked in (("web", runbook.probes.web), ("pages", runbook.probes.pages)):
        for name, probe in asked.items():
            yield from _service(("probes", key, name, "service"), probe.service, names)
            if isinstance(probe, WebProbe):
                yield from _wanted(("probes", key, name, "contains"), probe.contains)
    yield from _measures(runbook)
    seen: set[str] = set()
    for position, policy in enumerate(runbook.archives):
        if policy.name in seen:
            yield ("archives", position, "name"), repr(policy.name), "a name of its own"
        seen.add(policy.name)
    yield from _circles(runbook)
    yield from _shared_ports(runbook)
    if len(runbook.services) == len(names):
        yield from _numbers(runbook)
    yield from _database(runbook, names)


def nearest(word: str, words: Collection[str], otherwise: str) -> str:
    """What the writer of `word` may have meant."""
    near = difflib.get_close_matches(word, words, 1)
    return f"perhaps {near[0]}" if near else otherwise


def _compose(runbook: Runbook, names: Collection[str]) -> Iterator[Finding]:
    if runbook.application.compose is None:
        return
    for key, command in (("migrate", runbook.application.compose.migrate), ("seed", runbook.application.compose.seed)):
        if command is not None:
            here = ("application", "compose", key)
            yield from _service((*here, "service"), command.service, names)
            yield from _placeholders(here, command, ("sha",))


def _service(here: Location, name: str, names: Collection[str]) -> Iterator[Finding]:
    if name not in names:
        yield here, repr(name), nearest(name, names, f"one of {', '.join(names)}")


def _neighbours(here: Location, service: Service, names: Collection[str]) -> Iterator[Finding]:
    for position, other in enumerate(service.depends_on):
        yield from _service((*here, "depends_on", position), other, names)


def _port(here: Location, port: str | None, service: Service, *, embedded: bool) -> Iterator[Finding]:
    """embedded: the application has no other stack to run on."""
    if port is None:
        if embedded and service.kind != "other":
            yield here, "nothing", "a value"
    elif port not in _SERVICE_PORTS:
        allowed = f"one of {', '.join(_SERVICE_PORTS)}"
        taken = port.lower() in _OTHERS  # spelt right, but not for services
        yield here, repr(port), allowed if taken else nearest(port.upper(), _SERVICE_PORTS, allowed)
    elif service.kind == "postgres" and port != "POSTGRES_PORT":
        yield here, repr(port), "POSTGRES_PORT, where backups look for it"


def _parts(here: Location, service: Service, *, embedded: bool) -> Iterator[Finding]:
    """embedded: the application has no other stack to run on."""
    if service.kind == "app":
        if service.health is None:
            yield (*here, "health"), "nothing", "how an app is asked whether it is ready"
        if service.local is None and embedded:
            yield (*here, "local"), "nothing", "how an app runs"
        if service.rolled and service.container_port is None and not embedded:
            yield (*here, "container_port"), "nothing", "the port at which a new release is asked before it gets requests"
        if service.green_port is not None and not service.rolled:
            yield (*here, "green_port"), "a port for a second colour", "none: it has one colour (`rolled: true` gives it two)"
        return
    if service.kind == "other" and embedded:
        yield (*here, "kind"), "other", "what the embedded stack can run, or application.compose"
    if service.rolled:
        yield (*here, "rolled"), f"true for a service of kind {service.kind}", "true for apps only"
    if service.container_port is not None:
        yield (*here, "container_port"), f"a port for a service of kind {service.kind}", "none: it listens on its own"
    if service.health is not None:
        yield (*here, "health"), f"a check for a service of kind {service.kind}", "none: it is asked in its own way"
    if service.writes_database:
        yield (*here, "writes_database"), f"true for a service of kind {service.kind}", "true for apps only"
    if service.local is not None and service.kind in ("postgres", "caddy", "other"):
        yield (*here, "local"), f"a program for a service of kind {service.kind}", "none: this program brings its own"


def _placeholders(here: Location, program: LocalProgram | ComposeCommand, own: Collection[str]) -> Iterator[Finding]:
    texts: list[tuple[Location, str]] = [((*here, "command", position), text) for position, text in enumerate(program.command)]
    texts += [((*here, "environment", key), text) for key, text in program.environment.items()]
    known = (*own, *Settings.model_fields)
    for where, text in texts:
        for name in named(text):
            if name not in known:
                otherwise = f"a key of .env in lower case, or {', '.join(own)}; {{{{{name}}}}} for the text {{{name}}}"
                near = difflib.get_close_matches(name.lower(), known, 1) if name != "port" else []  # there is no other
                yield where, f"{{{name}}}", f"perhaps {{{near[0]}}}" if near else otherwise
            elif where[-2] == "command" and name in Settings.model_fields and is_secret(name):
                yield where, f"{{{name}}}, a secret, in a command, which all users of the host can see", "secrets in environment"


def _wanted(here: Location, text: str) -> Iterator[Finding]:
    """A text that an answer must have: people may see it, so no secrets."""
    for name in named(text):
        if name not in Settings.model_fields or is_secret(name):
            known = [one for one in Settings.model_fields if not is_secret(one)]
            yield here, f"{{{name}}}", nearest(name.lower(), known, "a key of .env in lower case that is no secret")


def _measures(runbook: Runbook) -> Iterator[Finding]:
    for name in runbook.alerts.rules:
        if "." not in name and name not in RULES:
            yield ("alerts", "rules", name), f"the measure {name!r}", nearest(name, RULES, f"one of {', '.join(RULES)}, or an alert's name")


def _circles(runbook: Runbook) -> Iterator[Finding]:
    waits = {name: set(service.depends_on) for name, service in runbook.services.items()}
    while True:
        try:
            TopologicalSorter(waits).prepare()
        except CycleError as error:
            circle = list(reversed(error.args[1]))[:-1]  # each waits for the next
            first = min(range(len(circle)), key=lambda at: list(runbook.services).index(circle[at]))
            circle = circle[first:] + circle[:first]
            found = ", ".join(f"{one} waits for {other}" for one, other in zip(circle, circle[1:] + circle[:1], strict=True))
            yield ("services", circle[0], "depends_on"), f"a circle: {found}", "services that can start one after the other"
            for name in circle:
                del waits[name]
        else:
            return


def _shared_ports(runbook: Runbook) -> Iterator[Finding]:
    having: dict[str, str] = {}
    for name, service in runbook.services.items():
        for key, port in (("port", service.port), ("green_port", service.green_port)):
            if port is not None and having.setdefault(port, f"{name}.{key}") != f"{name}.{key}":
                yield ("services", name, key), f"{port}, which {having[port].removesuffix('.port')} has", "a port of its own"


def _numbers(runbook: Runbook) -> Iterator[Finding]:
    for kind in ("caddy", "postgres"):
        having = [name for name, service in runbook.services.items() if service.kind == kind]
        if len(having) != 1:
            named_ones = f" ({', '.join(having)})" if having else ""
            yield ("services",), f"{len(having)} services of kind {kind}{named_ones}", "exactly one"


def _database(runbook: Runbook, names: Collection[str]) -> Iterator[Finding]:
    name = runbook.database.service
    service = runbook.services.get(name)
    if not names:
        return  # said already
    if name not in names or (service is not None and service.kind != "postgres"):
        yield ("database", "service"), repr(name), "the service of kind postgres"
