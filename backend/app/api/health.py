"""Whether it lives, whether it is ready, what it is."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis

from app.core.database import init_db, schema_revision
from app.core.metrics import registry
from app.core.settings import settings

router = APIRouter()
redis = Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2)


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(response: Response) -> dict[str, str]:
    """Database and Redis answer; 503 naming the one that does not."""
    database, cache = await asyncio.gather(_problem(init_db()), _problem(redis.ping()))
    response.status_code = 503 if database or cache else 200
    return {"database": database or "ok", "redis": cache or "ok"}


@router.get("/version")
async def version() -> dict[str, str | None]:
    """The release that runs and the revision of the schema that it found."""
    try:
        revision = await asyncio.wait_for(schema_revision(), 3)
    except Exception:  # noqa: BLE001 - whatever the driver says: it is not known now
        revision = None
    return {"release": settings.release_sha, "revision": revision}


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _problem(check: object) -> str:
    try:
        await asyncio.wait_for(check, 2.5)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - any of it means not ready
        return type(error).__name__
    return ""
