"""Rows as Parquet and back, exactly: the server's own CSV is what goes in and what comes out.

A value is stored as the Parquet type that holds it exactly, or as the text that PostgreSQL itself prints. Which one is seen from the values:
a column of timestamps with `infinity` among them is text in that file. The types are in the file's metadata either way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.archive.shape import FINGERPRINT, UNIT, Column, Table
from officeops.errors import OfficeOpsError

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = b"officeops"
_BLOCK = 4 << 20  # bytes of CSV in one row group, when its rows are not larger
_BLOCK_ROWS = 32_768
_DECIMALS = 38


class InexactError(Exception):
    """A value does not fit the type that its column was thought to have; as text it does."""


class DamagedFileError(OfficeOpsError):
    """A file of an archive cannot be read."""


def stored_as(column: Column, *, text: bool) -> str:
    """The Arrow type that a column is stored as. text: where a type cannot hold all values of PostgreSQL's, it is not trusted to."""
    always = {"bool": "bool", "int2": "int16", "int4": "int32", "int8": "int64", "float4": "float", "float8": "double", "bytea": "binary"}
    if column.base in always:
        return always[column.base]
    if not text and column.base in ("date", "timestamp", "timestamptz"):
        return {"date": "date32", "timestamp": "timestamp", "timestamptz": "timestamptz"}[column.base]
    if not text and column.base == "numeric" and column.modifier >= 4:
        # typmod: precision in the upper half, scale in the lower 11 bits, with a sign
        precision, scale = (column.modifier - 4) >> 16, (((column.modifier - 4) & 0x7FF) ^ 1024) - 1024
        if precision <= _DECIMALS and 0 <= scale <= precision:
            return f"decimal({precision}, {scale})"
    return "string"


def _arrow(stored: str) -> pa.DataType:
    import pyarrow as pa

    if stored.startswith("decimal("):
        precision, scale = stored.removeprefix("decimal(").rstrip(")").split(", ")
        return pa.decimal128(int(precision), int(scale))
    known = {"timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"), "date32": pa.date32(), "string": pa.string()}
    return known[stored] if stored in known else pa.type_for_alias(stored)


def blocks(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """Whole rows of CSV, joined to blocks."""
    parts: list[bytes | bytearray | memoryview] = []
    size = 0
    for row in rows:
        parts.append(row)
        size += len(row)
        if size >= _BLOCK or len(parts) >= _BLOCK_ROWS:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def write(path: Path, table: Table, csv: Iterable[bytes], *, text: bool, facts: dict[str, Any]) -> tuple[int, int, list[str]]:
    """Writes the rows, a row group for each block. facts: for the file's metadata.

    Returns the number of rows, the sum of their fingerprints and what each column is stored as. Raises InexactError.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    stored = [stored_as(column, text=text) for column in table.columns]
    columns = [{"name": column.name, "type": column.type, "stored": kind} for column, kind in zip(table.columns, stored, strict=True)]
    fields = [pa.field(UNIT, pa.int32()), pa.field(FINGERPRINT, pa.int64())]
    fields += [
        pa.field(column.name, _arrow(kind), metadata={"postgresql": column.type})
        for column, kind in zip(table.columns, stored, strict=True)
    ]
    schema = pa.schema(fields, metadata={METADATA: json.dumps({**facts, "columns": columns}, ensure_ascii=False).encode()})
    # By position: the names of columns need not be different from ours in a CSV, and may be anything.
    numbered = {str(number): pa.string() if field.type == pa.binary() else field.type for number, field in enumerate(schema)}
    convert = pa_csv.ConvertOptions(
        column_types=numbered, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        true_values=["t"], false_values=["f"],
    )  # fmt: skip
    parse = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    rows = total = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=_worth_a_dictionary(schema)) as writer:
        for block in csv:
            read = pa_csv.ReadOptions(column_names=list(numbered), block_size=len(block) + 1, use_threads=False)
            try:
                found = pa_csv.read_csv(pa.BufferReader(block), read_options=read, parse_options=parse, convert_options=convert)
            except pa.ArrowInvalid as error:
                raise InexactError(str(error)) from error
            arrays = [_from_hex(array) if field.type == pa.binary() else array for array, field in zip(found.columns, schema, strict=True)]
            group = pa.Table.from_arrays(arrays, schema=schema)
            rows += group.num_rows
            total += _exact_sum(pc, group.column(1))
            writer.write_table(group)
    return rows, total, stored


def _worth_a_dictionary(schema: pa.Schema) -> list[str]:
    import pyarrow as pa

    return [field.name for field in schema if field.type in (pa.string(), pa.bool_(), pa.int16(), pa.int32()) and field.name != UNIT]


def _exact_sum(pc: Any, fingerprints: pa.ChunkedArray) -> int:
    """64-bit sums wrap: halves do not."""
    high, low = pc.shift_right(fingerprints, 32), pc.bit_wise_and(fingerprints, 0xFFFFFFFF)
    return (int(pc.sum(high).as_py() or 0) << 32) + int(pc.sum(low).as_py() or 0)


def _from_hex(array: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.array([None if value is None else bytes.fromhex(value[2:]) for value in array.to_pylist()], pa.binary())


def _to_hex(array: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.array([None if value is None else "\\x" + value.hex() for value in array.to_pylist()], pa.string())


class Reader:
    """The rows of a file, in order, a row group at a time. Raises DamagedFileError when it is none."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            self._file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
            names = self._file.schema_arrow.names
            # By position: a name with a dot would be taken for a path.
            self._wanted = [names.index(name) for name in (UNIT, FINGERPRINT, *columns)]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DamagedFileError(f"{path.name} is no file of an archive: {error}.") from error
        self._order = [sorted(self._wanted).index(position) for position in self._wanted]

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._file.metadata.num_rows)

    def groups(self) -> Iterator[pa.Table]:
        """Row groups, with the columns asked for."""
        import pyarrow as pa

        try:
            for number in range(self._file.num_row_groups):
                group = self._file.reader.read_row_group(number, column_indices=sorted(self._wanted), use_threads=False)
                yield group.select(self._order)
        except (OSError, pa.ArrowException) as error:
            raise DamagedFileError(f"{self.path.name} cannot be read: {error}.") from error

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()


def as_csv(group: pa.Table, first_row: int) -> bytes:
    """What PostgreSQL's COPY takes: the number of each row in its file, then all columns."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    numbers = pa.array(range(first_row, first_row + group.num_rows), pa.int64())
    arrays = [numbers, *(_to_hex(array) if array.type == pa.binary() else array for array in group.columns)]
    sink = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False, batch_size=4096)
    pa_csv.write_csv(pa.Table.from_arrays(arrays, names=[str(number) for number in range(len(arrays))]), sink, options)
    return bytes(sink.getvalue().to_pybytes())
