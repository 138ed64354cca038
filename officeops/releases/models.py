"""The models that the application asks for: fetched by Ollama itself when they are not there, which may take minutes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.stack.port import Release

if TYPE_CHECKING:
    from officeops.site import Site

_SILENCE_S = 600.0  # between two words of a download


def pull_models(site: Site, release: Release) -> list[str]:
    """The model of OLLAMA_MODEL is in every service of kind ollama when this returns. Returns what was fetched."""
    model = release.settings.get("ollama_model", site.config.settings.ollama_model)
    fetched = []
    for name, service in site.config.runbook.services.items():
        if service.kind == "ollama" and model not in digests(site.stack.endpoint(name)):
            pull(site.stack.endpoint(name), model)
            fetched.append(model)
    return fetched


def digests(url: str) -> dict[str, str]:
    """The models that an Ollama has, by name, with their digests."""
    with _asked(url, "GET", "/api/tags") as (_, answers):
        tags = [tag for one in answers for tag in one.get("models", ())]
    return {name: str(tag.get("digest", "")) for tag in tags for name in (tag["name"], tag["name"].removesuffix(":latest"))}


def ask(url: str, method: str, path: str, body: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Status and answer of an Ollama. Raises OfficeOpsError when it does not answer."""
    with _asked(url, method, path, body) as (status, answers):
        return status, list(answers)


def pull(url: str, model: str) -> None:
    """Has an Ollama fetch a model: one that it has is brought up to date. Raises OfficeOpsError when it cannot."""
    meter = Meter(f"model {model}")
    with _asked(url, "POST", "/api/pull", {"model": model, "stream": True}) as (_, answers):
        for one in answers:
            if "error" in one:
                raise OfficeOpsError(
                    f"Ollama could not fetch the model {model}: {one['error']}.",
                    state="Everything else runs; the chat does not answer without it.",
                    todo="Correct OLLAMA_MODEL in .env, or see to the network; then the same command again goes on where it stopped.",
                )
            if total := one.get("total"):
                meter.total, meter.done = int(total), int(one.get("completed", 0))
                meter.add(0)
    meter.finish()


@contextmanager
def _asked(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[tuple[int, Iterator[dict[str, Any]]]]:
    """The status of an answer of Ollama, and its lines as they come, each a JSON object. Raises OfficeOpsError when it does not answer, or breaks off."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_SILENCE_S)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        yield response.status, (json.loads(line) for line in response if line.strip().startswith(b"{"))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OfficeOpsError(f"Ollama does not answer at {path}: {error}.", todo="See `officeops logs ollama`.") from error
    finally:
        connection.close()
