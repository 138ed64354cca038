"""The application."""

from __future__ import annotations

from fastapi import FastAPI

from app.api import ai, health, office
from app.core.metrics import Measured

app = FastAPI(title="Smart Office AI", docs_url="/api/docs", openapi_url="/api/openapi.json", redoc_url=None)
app.add_middleware(Measured)
for part in (health, ai, office):
    app.include_router(part.router)
