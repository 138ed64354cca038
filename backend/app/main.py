"""The application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import TimeoutError as SqlTimeoutError

from app.api import ai, health, office
from app.core.database import engine
from app.core.metrics import Measured


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Takes leave of the servers after the last request."""
    yield
    await ai.ollama.aclose()
    await health.redis.aclose()
    await engine.dispose()


# No pages of documentation: they would load their scripts from elsewhere.
app = FastAPI(title="Smart Office AI", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=lifespan)
app.add_middleware(Measured)
for part in (health, ai, office):
    app.include_router(part.router)


@app.exception_handler(SqlTimeoutError)
async def busy(_request: Request, _error: SqlTimeoutError) -> JSONResponse:
    """No connection to the database came free in time: whoever asks again later gets an answer."""
    return JSONResponse({"detail": "Too busy. Try again soon."}, 503, headers={"Retry-After": "2"})


@app.exception_handler(RequestValidationError)
async def refuse(_request: Request, error: RequestValidationError) -> JSONResponse:
    """What is wrong and where, without what was sent: that may be a password, or nothing that JSON can say."""
    wrong = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
    return JSONResponse({"detail": jsonable_encoder(wrong)}, 422)
