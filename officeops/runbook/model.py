"""What `runbook.yaml` may say. Every field's description is its documentation, for editors and for `docs/`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from officeops.runbook.parts import Amount, Argument, Count, Inside, Name, Part, Role, Switch, Text, Variable
from officeops.runbook.watching import Alerts, Probes, Remedies


class LocalProgram(Part):
    """A program of a release on the embedded stack, where a release is a directory. Its command and environment may name
    {release}, {venv}, {sha}, {python}, {caddy}, a service's own {port}, and every key of .env in lower case; {{port}} is the text {port}.
    """

    command: tuple[Argument, ...] = Field(min_length=1, description="Program and arguments, no shell; never secrets, which all could see")
    directory: Inside = Field(".", description="Working directory inside the release")
    environment: dict[Variable, Argument] = Field({}, description="Variables for the process; secrets by reference: {jwt_secret_key}")


class ComposeCommand(Part):
    """A one-off of a release on the Compose stack: in a new container of `service`, which goes when the command has ended. Its environment
    may name {sha} and every key of .env in lower case.
    """

    service: Name = Field(description="Service whose image and settings the container has")
    command: tuple[Argument, ...] = Field(min_length=1, description="Program and arguments, no shell; never secrets, which all could see")
    environment: dict[Variable, Argument] = Field(
        {}, description="Variables beside those of the service; secrets by reference: {demo_password}"
    )


class ComposeApplication(Part):
    """The application's releases on the Compose stack."""

    file: Inside = Field("docker-compose.yml", description="The Compose file, inside the release")
    migrate: ComposeCommand | None = Field(None, description="Brings the database's schema to the release's revision")
    seed: ComposeCommand | None = Field(None, description="Fills an empty database with a demonstration's data; may be run again")


class HttpCheck(Part):
    """A request that a healthy service answers with 200."""

    path: str = Field(pattern=r"^/[!-~]*$", description="Path on the service's own port")
    timeout: Amount = Field(3.0, gt=0, le=60, description="Seconds to wait for the answer")


class Service(Part):
    """One service of the stack."""

    kind: Literal["app", "postgres", "redis", "ollama", "caddy", "other"] = Field(
        description="app: comes with the release; other: any container of the Compose stack; the rest are servers that this program knows"
    )
    depends_on: tuple[str, ...] = Field((), description="Services that must be healthy before this one starts")
    port: str | None = Field(
        None, description="Key of .env that holds the service's port on the embedded stack, such as BACKEND_PORT; needed there"
    )
    health: HttpCheck | None = Field(None, description="How to ask an app whether it is ready; the known servers need none")
    writes_database: Switch = Field(False, description="Stopped while a restored database takes the live one's place (apps only)")
    stop_grace: Amount = Field(30.0, gt=0, description="Seconds between asking a service to stop and ending it")
    local: LocalProgram | None = Field(None, description="How it runs on the embedded stack; an app needs it there")
    container_port: Count | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port that an app listens on in its container; without one only the container's healthcheck is asked",
    )

    rolled: Switch = Field(
        False,
        description="Released without an interruption, in two colours behind Caddy's gates: on Compose the services NAME-blue and NAME-green",
    )
    green_port: str | None = Field(
        None, description="Key of .env with the port of its second colour; a rolled app needs it on the embedded stack"
    )


class Volume(Part):
    """What services keep outside the database's rows: a named volume of the Compose stack, a folder on the embedded one."""

    services: tuple[Name, ...] = Field((), description="Services that use it; on the Compose stack its containers are asked")
    folder: Inside | None = Field(None, description="On the embedded stack: its folder inside OFFICEOPS_HOME; default: its name")
    quiet: Switch = Field(False, description="Its services are stopped while it is backed up, and then as they were found")


class Application(Part):
    """The application's releases. What is at the top is for the embedded stack."""

    lock: Inside = Field("requirements.lock", description="Pinned Python packages, inside the release; its hash names the virtualenv")
    requirements: Inside | None = Field(
        None,
        description="What the lock file is compiled from (`uv pip compile`), inside the release; a rebuild on the embedded stack renews the lock "
        "file within its ranges",
    )
    migrate: LocalProgram | None = Field(None, description="Brings the database's schema to the release's revision")
    seed: LocalProgram | None = Field(None, description="Fills an empty database with a demonstration's data; may be run again")
    compose: ComposeApplication | None = Field(None, description="How a release runs on the Compose stack")
    migrations: Inside | None = Field(
        None, description="Folder of Alembic's revisions, inside the release; read, never run, to plan a deploy"
    )
    env_example: Inside | None = Field(None, description="File that names the keys of .env which a release needs, inside the release")
    caddyfile: Inside = Field("caddy/Caddyfile", description="The front door's configuration, inside the release")


class Rebuild(Part):
    """The monthly rebuild of the release that runs, for security updates."""

    models: Switch = Field(
        False, description="Ollama's model is fetched anew, too; one that does not answer afterwards gives way to what was there before"
    )


class Smoke(Part):
    """A request that a new release must answer before it gets any other."""

    service: Name = Field(description="The rolled service that is asked, directly")
    path: str = Field(pattern=r"^/[!-~]*$", description="What is asked for, by GET")
    status: Count = Field(200, ge=100, le=599, description="The status that it must answer with")
    contains: str = Field("", description="Text that must be in the answer")


class Releases(Part):
    """The chapter on releases: how one takes over from another."""

    keep: Count = Field(5, ge=2, description="Releases that stay on the host, so that one can go back without building")
    ready_checks: Count = Field(3, ge=1, description="Checks in a row that every service of the new release must pass")
    ready_seconds: Amount = Field(120, gt=0, description="A release that is not ready after this long is given up")
    smoke: tuple[Smoke, ...] = Field((), description="Asked of the new release before it gets requests")
    version_path: str | None = Field(
        None, description="Path behind the front door that answers with JSON whose `release` is the sha that runs, such as /version"
    )
    metrics_path: str | None = Field(
        None,
        description="Path of a rolled service's Prometheus metrics (http_requests_total, http_errors_total, http_request_seconds), watched in the bake",
    )
    bake_seconds: Amount = Field(60, ge=0, description="How long the old release stays up, so that going back is instant")
    max_error_rate: Amount = Field(
        0.05, gt=0, le=1, description="Share of failed requests in the bake above which the old release gets them again"
    )
    max_p95_seconds: Amount = Field(5.0, gt=0, description="95th percentile of the response time in the bake, likewise")
    min_requests: Count = Field(20, ge=1, description="Fewer requests than this prove nothing")
    stream_seconds: Amount = Field(300, gt=0, description="How long requests of the old release may take to end after the switch")
    lock_timeout_ms: Count = Field(2000, ge=1, description="How long a migration waits for a lock before it gives up and tries again")
    migration_seconds: Amount = Field(900, gt=0, description="A migration that takes longer is ended, and undone by the database")
    backup_max_age_hours: Amount = Field(26, gt=0, description="A deploy needs a verified backup that is not older")
    disk_free_bytes: Count = Field(2_000_000_000, ge=0, description="Room that must be left on the disk")


class Query(Part):
    """A query that a working database answers with at least one row."""

    name: Text = Field(description="What it shows, for people")
    sql: Text = Field(description="One SELECT; it sees the restored database only")


class Database(Part):
    """The database that is backed up."""

    service: str = Field("postgres", description="The service of kind postgres")
    revision_table: Text = Field("alembic_version", description="Table whose only column holds the schema revision")
    smoke: tuple[Query, ...] = Field((), description="Asked of every restored database, in a drill and before a swap")


class Retention(Part):
    """Which verified backups are kept; one that serves several rules counts for each."""

    keep_last: Count = Field(3, ge=1, description="The newest N are never removed, whatever the other rules say")
    daily: Count = Field(7, ge=0, description="The newest of each of the last N days that have one")
    weekly: Count = Field(4, ge=0, description="The newest of each of the last N weeks (Monday to Sunday) that have one")
    monthly: Count = Field(12, ge=0, description="The newest of each of the last N months that have one")


class Backups(Part):
    """The chapter on backups."""

    retention: Retention = Field(Retention(), description="Which backups are kept")
    max_age_hours: Amount = Field(26, gt=0, description="Without a verified backup for longer than this, people are told")
    timeout_minutes: Amount = Field(360, gt=0, description="A dump or a restore that takes longer is stopped")
    level: Count = Field(1, ge=1, le=19, description="zstd level: a higher one is smaller and slower")


class Runs(Part):
    """What holds for every run."""

    max_hours: Amount = Field(
        12,
        gt=0,
        description="A run that works for longer is stopped, and people are told; waiting for its turn or for an approval is no work",
    )


Action = Literal["restore", "restore_undo", "downgrade", "contract", "stamp", "deploy", "rollback", "emergency", "archive"]


class Approvals(Part):
    """Which runs ask people before they change anything. Runs of the command line do not: the command itself asks, or is told --yes."""

    actions: tuple[Action, ...] = Field(
        ("restore", "restore_undo", "downgrade", "contract", "stamp"), description="What waits in the Prefect UI until somebody approves it"
    )
    expires_hours: Amount = Field(24.0, gt=0, description="A run that nobody answered for as long is cancelled; nothing was changed")


class Archive(Part):
    """Rows that nobody uses any more: they leave the database for Parquet files, each with the rows that belong to it."""

    name: Name = Field(description="The policy's name: batches and their files carry it")
    table: Text = Field(description='Table whose rows age, as in SQL: conversations, public.conversations, "Odd Name"')
    children: tuple[Text, ...] = Field(
        (),
        description="Tables whose rows go with theirs, by foreign keys, also those of other children. Any other table that points to "
        "one of these refuses the policy",
    )
    age_column: Text = Field(description="Column of the table that holds a row's age: a date or timestamp")
    older_than_days: Count = Field(ge=1, description="Rows older than this many days are archived")
    where: str = Field("", description="Further SQL condition on the table's rows")
    batch_size: Count = Field(100_000, ge=1, description="Rows of the table in one batch, which is exported as of one moment")
    grace_days: Amount = Field(7, ge=0, description="Days between the proof of a batch and the removal of its rows from the database")
    target: str | None = Field(
        None, pattern=r"^(file:|s3://).+$", description="Where the files go; default: every target of BACKUP_TARGETS"
    )
    unencrypted: Switch = Field(
        False, description="Archives are plain Parquet; where backups are encrypted (BACKUP_AGE_RECIPIENTS) this must be said to be meant"
    )


class Logs(Part):
    """The chapter on logs: how the services' are kept, and for how long what they printed is kept elsewhere."""

    driver: Text = Field("json-file", description="The engine's log driver that every container should have")
    max_megabytes: Count = Field(10, ge=1, description="Largest file of a log, in MiB, as the engine and supervisor reckon")
    max_files: Count = Field(3, ge=1, description="Files of a log, the one that is written among them")
    keep_days: Count = Field(90, ge=1, description="Exported lines that are older than this many days are removed")
    target: str | None = Field(
        None, pattern=r"^(file:|s3://).+$", description="Where logs are exported to; default: every target of BACKUP_TARGETS"
    )
    unencrypted: Switch = Field(
        False,
        description="Exported logs are plain JSON Lines; where backups are encrypted (BACKUP_AGE_RECIPIENTS) this must be said to be meant",
    )


class Contact(Part):
    """Who is told what."""

    role: Role = Field(description="What the person answers for")
    name: str = Field(description="Who it is")
    contact: str = Field("", description="Telephone, address or channel, for people to read")


class Runbook(Part):
    """A self-hosted application: what runs, what is asked of it, how it is backed up, who is told."""

    version: Literal[1] = Field(description="Version of this format")
    stack: Name = Field(description="Name of the stack: ledger rows, locks, backups and queues carry it")
    title: Text = Field(description="The application's name, for people")
    application: Application = Field(Application(), description="Where a release has its parts")
    services: dict[Name, Service] = Field(
        min_length=1, description="What runs, by name; exactly one of kind postgres and one of kind caddy"
    )
    volumes: dict[Name, Volume] = Field({}, description="What is kept outside the database's rows, by name")
    releases: Releases = Field(Releases(), description="How one release takes over from another")
    rebuild: Rebuild = Field(Rebuild(), description="What the monthly rebuild renews beside the release")
    database: Database = Field(Database(), description="The database that is backed up")
    backups: Backups = Field(Backups(), description="How it is backed up")
    runs: Runs = Field(Runs(), description="How long a run may take")
    approvals: Approvals = Field(Approvals(), description="What asks people first")
    probes: Probes = Field(Probes(), description="What is asked each minute")
    alerts: Alerts = Field(Alerts(), description="What people are told of it")
    remedies: Remedies = Field(Remedies(), description="What is done about it")
    archives: tuple[Archive, ...] = Field((), description="Which rows leave the database, when, and where to")
    logs: Logs = Field(Logs(), description="How logs are kept")
    contacts: tuple[Contact, ...] = Field((), description="Who is told, and who may say that something is approved")
    advice: dict[Name, Text] = Field({}, description="What to do when a run of a flow fails, by the flow's name; stands in the message")

    def rolled(self) -> tuple[str, ...]:
        """Names of the services that have two colours."""
        return tuple(name for name, service in self.services.items() if service.rolled)

    def writers(self) -> tuple[str, ...]:
        """Names of the services that write to the database."""
        return tuple(name for name, service in self.services.items() if service.writes_database)
