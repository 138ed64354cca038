"""The ledger's tables. Rows carry the stack's name: one ledger may serve several stacks. Columns are only ever added."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, MetaData, String, Table, Text

metadata = MetaData()
RELEASE_LENGTH = 80

operations = Table(
    "operations",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("stack", String(63), primary_key=True),
    Column("kind", String(20), nullable=False, index=True),  # backup, restore, drill, rollout
    Column("state", String(40), nullable=False),  # the step that was begun last
    Column("facts", JSON, nullable=False),  # what undoing or finishing it needs to know
    Column("started_at", String(40), nullable=False, index=True),
    Column("updated_at", String(40), nullable=False),
    Column("finished_at", String(40)),
    Column("outcome", String(20)),  # done, failed, undone; NULL while it runs
    Column("error", Text),
)

backup_copies = Table(
    "backup_copies",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("backup", String(80), primary_key=True),
    Column("target", String(400), primary_key=True),
    Column("at", String(40), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("verified_at", String(40)),  # when its objects were last read back whole; NULL: the last reading failed
    Column("problem", Text),
    Column("pinned", Boolean, nullable=False, default=False),
    Column("manifest", JSON, nullable=False),
)

drills = Table(
    "drills",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("backup", String(80), primary_key=True),
    Column("at", String(40), primary_key=True),
    Column("ok", Boolean, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("detail", Text, nullable=False, default=""),
)

releases = Table(
    "releases",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("id", String(80), primary_key=True),  # of one taking over, not of the commit: a commit may be released twice
    Column("sha", String(RELEASE_LENGTH), nullable=False),  # a commit, and which rebuild of it
    Column("kind", String(20), nullable=False),  # initial, deploy, rollback, emergency
    Column("strategy", String(20), nullable=False),  # blue-green, recreate
    Column("colour", String(5), nullable=False),
    Column("artifact", JSON, nullable=False),  # by service: image id; or folder and virtualenv
    Column("hashes", JSON, nullable=False),  # sha256 of the Compose file, the lock file, the Caddyfile
    Column("revision", String(80)),  # of the schema, when it took over
    Column("who", String(200), nullable=False),
    Column("why", Text, nullable=False, default=""),
    Column("created_at", String(40), nullable=False),
    Column("deployed_at", String(40)),  # when it got its first request
    Column("retired_at", String(40)),  # when the one before it was gone
    Column("outcome", String(20)),  # deployed, failed, undone; NULL while it goes on
    Column("error", Text),
)

approvals = Table(
    "approvals",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("id", String(80), primary_key=True),  # the run and what it was asked about: a run may be asked again when things changed
    Column("action", String(20), nullable=False),
    Column("run", String(40), nullable=False),
    Column("terms", JSON, nullable=False),  # what was asked about; another plan has other terms
    Column("asked_at", String(40), nullable=False),
    Column("decision", String(10)),  # approve, reject; NULL: nobody answered, or not yet
    Column("who", String(200)),  # as stated in the form
    Column("why", Text),
    Column("decided_at", String(40)),
)

samples = Table(
    "samples",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("at", String(40), primary_key=True),
    Column("values", JSON, nullable=False),  # by name; null: could not be asked
    Column("wrong", JSON, nullable=False),  # names of what was not well
    Column("measures", JSON, nullable=False),  # by name: which rule judges it
    Column("counters", JSON, nullable=False),  # of the application, by service and colour
)

alerts = Table(
    "alerts",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("since", String(40), primary_key=True),
    Column("phase", String(20), nullable=False),  # pending, firing, acknowledged, resolved
    Column("resolved_at", String(40)),  # NULL: it is open
    Column("facts", JSON, nullable=False),  # the rest of it
)

silences = Table(
    "silences",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("id", String(20), primary_key=True),
    Column("pattern", String(200), nullable=False),
    Column("until", String(40), nullable=False),
    Column("who", String(200), nullable=False),
    Column("why", Text, nullable=False, default=""),
    Column("created_at", String(40), nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("id", String(80), primary_key=True),
    Column("target", String(200), nullable=False, index=True),  # what was mended
    Column("probe", String(200), nullable=False),  # the reading that raised it
    Column("remedy", String(80), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("ended_at", String(40)),
    Column("outcome", String(20)),  # healed, well, paged, refused, failed; NULL while it goes on
    Column("steps", JSON, nullable=False),  # the timeline: at, what, outcome, detail
    Column("diagnosis", Text, nullable=False, default=""),
    Column("who", String(200), nullable=False),
)

log_cursors = Table(
    "log_cursors",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("source", String(80), primary_key=True),
    Column("service", String(63), nullable=False),
    Column("sequence", BigInteger, nullable=False),  # of the last collecting that found lines
    Column("cursor", Text),  # the stack's own word for how far it was read
    Column("last_at", String(40)),  # time of the last line
    Column("ended", Boolean, nullable=False),  # it was read to its end, after it had ended
)

log_parts = Table(
    "log_parts",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("source", String(80), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("service", String(63), nullable=False),
    Column("day", String(10), nullable=False, index=True),
    Column("lines", BigInteger, nullable=False),
    Column("plain_bytes", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("first_at", String(40), nullable=False),
    Column("last_at", String(40), nullable=False, index=True),
    Column("targets", JSON, nullable=False),  # where it is stored, read back
    Column("waits", Boolean, nullable=False),  # it is not stored everywhere yet: its file is in OFFICEOPS_HOME/logs
)

log_left_overs = Table(
    "log_left_overs",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("id", String(255), primary_key=True),  # as of a part that is none, or no more
    Column("targets", JSON, nullable=False),  # where it is to be removed
)

log_gaps = Table(
    "log_gaps",
    metadata,
    Column("stack", String(63), primary_key=True),
    Column("source", String(80), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),  # of the collecting before it
    Column("service", String(63), nullable=False),
    Column("found_at", String(40), nullable=False),
    Column("after", String(40)),  # time of the last line before it
    Column("before", String(40)),  # of the first one behind it; NULL: there is none
    Column("why", Text, nullable=False),
)
