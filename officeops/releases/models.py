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
        if service.kind == "ollama" and model not in _models(site.stack.endpoint(name)):
            _pull(site.stack.endpoint(name), model)
            fetched.append(model)
    return fetched


def _models(url: str) -> set[str]:
    with _asked(url, "GET", "/api/tags") as answers:
        return {name for one in answers for tag in one.get("models", ()) for name in (tag["name"], tag["name"].removesuffix(":latest"))}


def _pull(url: str, model: str) -> None:
    meter = Meter(f"model {model}")
    with _asked(url, "POST", "/api/pull", {"model": model, "stream": True}) as answers:
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
def _asked(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """An answer of Ollama, a JSON object a line as they come. Raises OfficeOpsError when it does not answer, or breaks off."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_SILENCE_S)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        yield (json.loads(line) for line in connection.getresponse())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OfficeOpsError(f"Ollama does not answer at {path}: {error}.", todo="See `officeops logs ollama`.") from error
    finally:
        connection.close()
