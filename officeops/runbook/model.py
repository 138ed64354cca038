"""What `runbook.yaml` may say. Every field's description is its documentation, for editors and for `docs/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class Part(BaseModel):
    """Anything in the runbook: unknown keys are errors, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LocalProgram(Part):
    """How a service runs on the embedded stack, where a release is a directory. `{port}`, `{release}`, `{venv}` and
    every key of `.env` in lower case may stand in any value."""

    command: tuple[str, ...] = Field(min_length=1, description="Program and arguments, no shell")
    directory: str = Field(".", description="Working directory inside the release")
    environment: dict[str, str] = Field({}, description="Variables for the process; secrets by reference: {jwt_secret_key}")


class HttpCheck(Part):
    """A request that a healthy service answers with 200."""

    path: str = Field(pattern=r"^/", description="Path on the service's own port")
    timeout: float = Field(3.0, gt=0, le=60, description="Seconds")


class Service(Part):
    """One service of the stack."""

    kind: Literal["app", "postgres", "redis", "ollama", "caddy"] = Field(
        description="app: comes with the release; the others are servers that this program knows how to run and ask"
    )
    depends_on: tuple[Name, ...] = Field((), description="Services that must be healthy before this one starts")
    port: str | None = Field(None, description="Key of .env that holds the service's port, such as BACKEND_PORT")
    health: HttpCheck | None = Field(None, description="How to ask an app whether it is ready; the known servers need none")
    writes_database: bool = Field(False, description="Stopped while a restored database takes the live one's place")
    stop_grace: float = Field(30.0, gt=0, description="Seconds between asking a service to stop and ending it")
    local: LocalProgram | None = Field(None, description="How it runs on the embedded stack (apps only)")


class Application(Part):
    """The application's releases on the embedded stack."""

    lock: str = Field("requirements.lock", description="Pinned Python packages, inside the release; its hash names the virtualenv")
    migrate: LocalProgram | None = Field(None, description="Brings the database's schema to the release's revision")
    seed: LocalProgram | None = Field(None, description="Fills an empty database with a demonstration's data; may be run again")


class Query(Part):
    """A query that a working database answers with at least one row."""

    name: str
    sql: str


class Database(Part):
    """The database that is backed up."""

    service: Name = Field("postgres", description="The service of kind postgres")
    revision_table: str = Field("alembic_version", description="Table whose only column holds the schema revision")
    smoke: tuple[Query, ...] = Field((), description="Asked of every restored database, in a drill and before a swap")


class Retention(Part):
    """Which verified backups are kept; one that serves several rules counts for each."""

    keep_last: int = Field(3, ge=1, description="The newest N are never removed, whatever the other rules say")
    daily: int = Field(7, ge=0)
    weekly: int = Field(4, ge=0)
    monthly: int = Field(12, ge=0)


class Backups(Part):
    """The chapter on backups."""

    retention: Retention = Retention()
    max_age_hours: float = Field(26, gt=0, description="Without a verified backup for longer than this, people are told")
    timeout_minutes: float = Field(360, gt=0, description="A dump or a restore that takes longer is stopped")
    level: int = Field(1, ge=1, le=19, description="zstd level")


class Contact(Part):
    """Who is told what."""

    role: Literal["system_administrator", "database_administrator", "development_lead"]
    name: str
    contact: str = ""


class Runbook(Part):
    """`runbook.yaml`."""

    version: Literal[1] = Field(description="Version of this format")
    stack: Name = Field(description="Name of the stack: ledger rows, locks, backups and queues carry it")
    title: str = Field(description="The application's name, for people")
    application: Application = Application()
    services: dict[Name, Service] = Field(min_length=1)
    database: Database = Database()
    backups: Backups = Backups()
    contacts: tuple[Contact, ...] = ()

    def writers(self) -> tuple[str, ...]:
        """Names of the services that write to the database."""
        return tuple(name for name, service in self.services.items() if service.writes_database)
