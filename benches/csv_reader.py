"""Throughput of our reader of delimited text, of pyarrow's, and of a mix, on the same file.

  python -m benches.csv_reader --rounds 5

Both deliver the declared types. Rounds alternate, and the first of each is left out. The second part gives
records that break the format to ours and pyarrow's: a malformed record must stay a row that names its line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from benches.compare import RESULTS
from benches.stored import noted
from millrace.schemas.rule import MALFORMED
from millrace.schemas.sources import CsvSource
from millrace.udfs.readers.csv_reader import read_csv
from millrace.udfs.readers.files import InputFile
from millrace.udfs.readers.records import BATCH_ROWS
from millrace.udfs.readers.text_values import cast_cells

SCHEMA = pa.schema(
    [
        ("payment_id", pa.int64()),
        ("account", pa.string()),
        ("amount", pa.decimal128(18, 2)),
        ("paid_at", pa.timestamp("us", "UTC")),
        *[(f"feature_{n}", pa.float64()) for n in range(8)],
        ("is_card", pa.bool_()),
    ]
)
# A record of a file with columns i: bigint and t: string, between two that are sound.
MALFORMED_RECORDS = {
    "a field too many": b"2,b,c\n",
    "text after a closing quote": b'2,"b"c\n',
    "a quote that is never closed": b'2,"b\n',
    "bytes that are not UTF-8": b"2,\xff\n",
    "an integer in hexadecimal": b"0x1f,b\n",
    "a word for a number": b"two,b\n",
    "a blank around a number": b" 2,b\n",
}


def write_file(path: Path, rows: int) -> InputFile:
    """Write rows without quotes, which is what a fast path could take."""
    draw = np.random.default_rng(7)
    features = draw.normal(size=(rows, 8))
    with path.open("w", encoding="utf-8") as out:
        out.write(",".join(SCHEMA.names) + "\n")
        for row in range(rows):
            numbers = ",".join(f"{value:.6f}" for value in features[row])
            paid = f"2026-03-{row % 28 + 1:02}T{row % 24:02}:00:00Z"
            card = "true" if row % 2 else "false"
            out.write(f"{row},acct-{row % 997:05},{row % 10000}.25,{paid},{numbers},{card}\n")
    return InputFile(str(path), path.name, path.stat().st_size)


def ours(file: InputFile, schema: pa.Schema) -> pa.Table:
    """The file's rows by the reader of a run."""
    return pa.Table.from_batches(
        list(read_csv(file, CsvSource(format="csv", path=file.path), schema))
    )


def arrow(file: InputFile, schema: pa.Schema) -> pa.Table:
    """The file's rows by pyarrow, in one thread as a task has it; a wrong width is left out."""
    skipped: list[Any] = []

    def skip(row: Any) -> str:
        skipped.append(row)
        return "skip"

    return csv.read_csv(
        file.path,
        read_options=csv.ReadOptions(use_threads=False),
        parse_options=csv.ParseOptions(invalid_row_handler=skip),
        convert_options=csv.ConvertOptions(
            column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def mixed(file: InputFile, schema: pa.Schema) -> pa.Table:
    """The file's rows by pyarrow as texts, and our cast: the most that a fast path for sound blocks gives."""
    texts = arrow(file, pa.schema([(name, pa.string()) for name in schema.names]))
    batches = [
        pa.record_batch(
            [cast_cells(c, f.type)[0] for c, f in zip(b.columns, schema, strict=True)],
            schema=schema,
        )
        for b in texts.to_batches(max_chunksize=BATCH_ROWS)
    ]
    return pa.Table.from_batches(batches)


READERS = {"ours": ours, "mixed": mixed, "pyarrow": arrow}


def took(read: Callable[..., pa.Table], *arguments: Any) -> float:
    """CPU seconds of one reading: other processes on the machine do not change them."""
    began = time.process_time()
    read(*arguments)
    return time.process_time() - began


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """By kind of malformed record, what each reader makes of it."""
    schema = pa.schema([("i", pa.int64()), ("t", pa.string())])
    found = {}
    for kind, record in MALFORMED_RECORDS.items():
        path = folder / "malformed.csv"
        path.write_bytes(b"i,t\n1,a\n" + record + b"3,c\n")
        file = InputFile(str(path), path.name, path.stat().st_size)
        rows = ours(file, schema).to_pylist()
        named = [row[MALFORMED] for row in rows if row[MALFORMED]]
        try:
            table = arrow(file, schema)
            said = f"{len(table)} rows, silently: {table.select(['i', 't']).to_pylist()}"
        except pa.ArrowException as error:
            said = f"the whole file is refused: {str(error).splitlines()[0]}"
        found[kind] = {"ours": "; ".join(named), "pyarrow": said}
    return found


def main() -> None:
    """Measure, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = write_file(Path(scratch) / "payments.csv", arguments.rows)
        tables = [read(file, SCHEMA).select(SCHEMA.names) for read in READERS.values()]
        same = all(table.equals(tables[0]) for table in tables)
        seconds: dict[str, list[float]] = {reader: [] for reader in READERS}
        for number in range(arguments.rounds + 1):
            for one, read in list(READERS.items())[:: 1 if number % 2 else -1]:
                each = took(read, file, SCHEMA)
                if number:
                    seconds[one].append(round(each, 4))
        rates = {one: round(arguments.rows / statistics.median(s)) for one, s in seconds.items()}
        result = {
            "rows": arguments.rows, "columns": len(SCHEMA), "size_bytes": file.size_bytes,
            "rows_per_cpu_s": rates, "cpu_s": seconds, "rows_are_equal": same,
            "malformed": outcomes(Path(scratch)),
        }  # fmt: skip
    print(json.dumps(result, indent=1))
    noted("csv-reader", result, arguments.out)


if __name__ == "__main__":
    main()
