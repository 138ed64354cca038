"""The Prefect server, its worker, and runs that should have started: asked by plain HTTP."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from officeops.clock import iso
from officeops.probes.http import NoAnswerError, Place
from officeops.probes.reading import Reading, yes

if TYPE_CHECKING:
    from officeops.site import Site

_ANSWER_S = 3.0
_LATE = timedelta(minutes=5)


_SIGNS = ("supervisord.conf", "worker.compose.json")  # what `officeops up` writes first, on either stack


def api(site: Site) -> str:
    """Where the server's API is."""
    settings = site.config.settings
    return settings.prefect_api_url or f"http://127.0.0.1:{settings.prefect_port}/prefect/api"


def is_here(site: Site) -> bool:
    """Whether this host was ever given a control plane. The folder alone is no sign: a run with a server of its own has made it, too."""
    folder = site.home / "prefect"
    return site.config.settings.prefect_api_url is not None or any((folder / name).exists() for name in _SIGNS)


def ask_prefect(site: Site) -> Iterator[Reading]:
    """The server first: without it nothing else is known."""
    server = Server(site)
    try:
        server.get("/ready")
    except NoAnswerError as error:
        yield yes("prefect.server", "prefect", f"the server at {api(site)} does not answer: {error}")
        return
    yield yes("prefect.server", "prefect", "")
    yield from _inside(site, server)


class Server:
    """The server's API. It may want to be sure that an order comes from who it says it comes from (CSRF).
    timeout: seconds for each answer."""

    def __init__(self, site: Site, *, timeout: float = _ANSWER_S) -> None:
        self._timeout = timeout
        url = urlsplit(api(site))
        self._place, self._path = Place(f"{url.scheme}://{url.netloc}", url.netloc), url.path
        auth = base64.b64encode(site.config.settings.prefect_auth_string.get_secret_value().encode()).decode()
        self._headers = {"Authorization": f"Basic {auth}"}

    def get(self, path: str) -> Any:
        """The answer's JSON. Raises NoAnswerError when there is none, or it is no good one."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        """Likewise."""
        try:
            return self._ask("POST", path, body)
        except ForbiddenError:
            self._headers |= self._token()
            return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: object) -> Any:
        answer = self._place.ask(self._path + path, self._timeout, method=method, body=body, headers=self._headers)
        if answer.status == 403:
            raise ForbiddenError(f"{path} answered 403: {answer.text[:200]}")
        if answer.status >= 400:
            raise NoAnswerError(f"{path} answered {answer.status}: {answer.text[:200]}")
        try:
            return answer.json()
        except ValueError as error:
            raise NoAnswerError(f"{path} answered no JSON: {answer.text[:200]}") from error

    def _token(self) -> dict[str, str]:
        name = uuid4().hex
        return {"Prefect-Csrf-Client": name, "Prefect-Csrf-Token": str(self.get(f"/csrf-token?client={name}")["token"])}


class ForbiddenError(NoAnswerError):
    """Answered with 403."""


def _inside(site: Site, server: Server) -> Iterator[Reading]:
    now, pool = site.clock(), f"officeops-{site.name}"
    workers = server.post(f"/work_pools/{pool}/workers/filter", {"limit": 20})
    beats = [datetime.fromisoformat(one["last_heartbeat_time"].replace("Z", "+00:00")) for one in workers if one.get("last_heartbeat_time")]
    if beats:
        yield Reading("prefect.worker", "heartbeat", max(0.0, (now - max(beats)).total_seconds()), "since a worker was heard")
    else:
        yield Reading("prefect.worker", "heartbeat", None, "no worker was ever heard")
    late = {
        "flow_runs": {
            "tags": {"all_": [f"stack:{site.name}"]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "next_scheduled_start_time": {"before_": iso(now - _LATE)},
        }
    }
    yield Reading("prefect.late_runs", "late_runs", float(server.post("/flow_runs/count", late)), "scheduled more than 5 minutes ago")
    yield from _last_watch(site, server, now)


def _last_watch(site: Site, server: Server, now: datetime) -> Iterator[Reading]:
    """When the flow `watch` was last done, once it ever was."""
    wanted = {
        "flows": {"name": {"any_": ["watch"]}},
        "flow_runs": {"tags": {"all_": [f"stack:{site.name}"]}, "state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "END_TIME_DESC",
        "limit": 1,
    }
    for run in server.post("/flow_runs/filter", wanted):
        ended = datetime.fromisoformat(run["end_time"].replace("Z", "+00:00"))
        yield Reading("prefect.watch", "watch_age", max(0.0, (now - ended).total_seconds()), "since the flow watch was done")
