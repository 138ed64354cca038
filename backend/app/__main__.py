"""Runs the backend: python -m app --host 127.0.0.1 --port 8000"""

from __future__ import annotations

import argparse
import logging.config
import os
import time

import uvicorn

# Longer than the proxy keeps an idle connection to us (4 s): the one that closes first must not be the one that is sent a request.
_KEEP_ALIVE_S = 75
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"}},
    "root": {"level": os.environ.get("LOG_LEVEL", "INFO"), "handlers": ["stdout"]},
    "loggers": {"httpx": {"level": "WARNING"}},
}


def main() -> None:
    """Serves until SIGTERM; then finishes the requests in flight, streams too, for as long as DRAIN_SECONDS allows."""
    parser = argparse.ArgumentParser(description="Smart Office AI backend")
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's own network
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    logging.Formatter.converter = time.gmtime
    logging.config.dictConfig(_LOGGING)
    from app.core.metrics import access
    from app.core.settings import settings

    access.disabled = os.environ.get("ACCESS_LOG", "true") != "true"
    uvicorn.run(
        "app.main:app",
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,  # ours has how long it took
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_seconds,
        proxy_headers=True,
    )


if __name__ == "__main__":
    main()
