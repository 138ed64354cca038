"""What is in a batch: the file that lies beside its Parquet files, and what the database keeps of it. See docs/archive-format.md."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

FORMAT: Literal["officeops-archive"] = "officeops-archive"
VERSION = 1
_SAFE = re.compile(rb"[A-Za-z0-9_.-]")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArchivedColumn(_Part):
    """type: PostgreSQL's. stored: Arrow's, or `string` for what PostgreSQL prints. generated: computed by the database."""

    name: str
    type: str
    stored: str
    generated: bool
    binary: bool


class ArchivedTable(_Part):
    """A file with the rows of one table. key: columns of its primary key. checksum: sum of the rows' fingerprints, a decimal number as
    text. sha256, bytes: of the file."""

    schema_name: str
    name: str
    key: tuple[str, ...]
    columns: tuple[ArchivedColumn, ...]
    definition: str
    rows: int
    checksum: str
    object: str
    bytes: int
    sha256: str

    @property
    def label(self) -> str:
        """Its name, for people."""
        return f"{self.schema_name}.{self.name}"


class ArchiveManifest(_Part):
    """A batch. exported_at and lsn: the moment that its rows are of. older_than: rows with an age before it. units: rows of the policy's
    table, each with its children. condition: the policy's. tables: parents first."""

    format: Literal["officeops-archive"] = FORMAT
    version: int = VERSION
    id: str
    stack: str
    policy: str
    exported_at: datetime
    lsn: str
    server_version: str
    older_than: datetime
    age_column: str
    condition: str
    units: int
    tables: tuple[ArchivedTable, ...]

    def to_json(self) -> bytes:
        """The same bytes for the same batch, always."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(table.bytes for table in self.tables)


def folder(stack: str, policy: str, batch: str) -> str:
    """Where a batch stands in a target."""
    return f"{stack}/archives/{policy}/{batch}/"


def file_name(position: int, schema: str, table: str) -> str:
    """`00-public.messages.parquet`; what is no plain letter, digit, `_`, `.` or `-` as % and two hexadecimal digits for each byte."""
    plain = "".join(chr(byte) if _SAFE.match(bytes([byte])) else f"%{byte:02X}" for byte in f"{schema}.{table}".encode())
    return f"{position:02}-{plain}.parquet"
