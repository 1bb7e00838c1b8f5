"""The ledger in the terms of the FOCUS specification: CSV, Parquet and metadata, without Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from millrace.pipelines.accounting.ledger import SAVED
from millrace.pipelines.console import safe_csv
from millrace.pipelines.console.formatting import exact
from millrace.pipelines.lake import live_rows
from millrace.pipelines.lake.atomic_file import whole
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.run_lookup import the_run
from millrace.pipelines.query.views import tables
from millrace.schemas import focus
from millrace.schemas.errors import UsageError
from millrace.schemas.ids import digest
from millrace.schemas.tables import LEDGER

_TEXT = pa.string()
_SECOND = pa.timestamp("s", "UTC")
_SAME: dict[str, str] = {  # FOCUS's column: the ledger's, where the names differ
    "PricingQuantity": "ConsumedQuantity",
    "PricingUnit": "ConsumedUnit",
    "ListCost": "EffectiveCost",
    "ContractedCost": "EffectiveCost",
}
_ALWAYS = {"ChargeCategory": "Usage", "ServiceCategory": "Compute", "ServiceName": "Millrace"}


@dataclass(frozen=True)
class Exported:
    """The files of an export, its rows and their cost."""

    files: tuple[Path, ...]
    rows: int
    unpriced: int  # rows without a price, which are left out
    cost: dict[str, Decimal]  # by currency

    def as_json(self) -> dict[str, Any]:
        """Return plain values; money as texts, so that no digit is lost."""
        return {
            "files": [str(path) for path in self.files],
            "focus_version": focus.VERSION,
            "rows": self.rows,
            "rows_without_price": self.unpriced,
            "effective_cost": {name: exact(total) for name, total in self.cost.items()},
            "absent_columns": list(focus.ABSENT),
        }


def export(lake: LakeLocation, out: Path, run: str | None = None) -> Exported:
    """Write the priced rows of the ledger, or of one run, to a folder: CSV, Parquet, metadata.

    The same ledger gives the same bytes. Raises UsageError.
    """
    ledger = _ledger(lake, run)
    priced = ledger.filter(
        pc.and_(ledger["EffectiveCost"].is_valid(), ledger["BillingCurrency"].is_valid())
    )
    rows = as_focus(priced.sort_by("x_RecordId"))
    about = metadata(rows.schema)
    metadata_text = json.dumps(about, indent=2) + "\n"
    marked = rows.replace_schema_metadata({"focus": json.dumps(about)})
    files = {
        "cost_and_usage.csv": lambda path: _write_csv(rows, path),
        "cost_and_usage.parquet": lambda path: pq.write_table(marked, path),
        "metadata.json": lambda path: path.write_text(metadata_text, encoding="utf-8"),
    }
    written = tuple(_written(out, name, write) for name, write in files.items())
    return Exported(written, len(rows), len(ledger) - len(rows), _sums(rows))


def as_focus(ledger: pa.Table) -> pa.Table:
    """Priced ledger rows as FOCUS's columns in its order, then those with x_, as many rows."""
    start, end = ledger["ChargePeriodStart"], ledger["ChargePeriodEnd"]
    slot_time = pc.multiply(pc.fill_null(ledger["x_SlotMs"], 0), 1000).cast(pa.duration("us"))
    until = pc.coalesce(end, pc.add(start, slot_time))
    made = {
        "ChargeClass": pa.nulls(len(ledger), _TEXT),
        "ChargeDescription": _described(ledger),
        "ChargePeriodStart": pc.floor_temporal(start, unit="second").cast(_SECOND),
        "ChargePeriodEnd": pc.ceil_temporal(until, unit="second").cast(_SECOND),
        "RegionId": _region(ledger["SkuPriceId"]),
        "Tags": pa.array([_tags(each) for each in ledger["Tags"].to_pylist()], _TEXT),
        **{name: ledger[source] for name, source in _SAME.items()},
        **{
            name: pa.repeat(pa.scalar(value, _TEXT), len(ledger)) for name, value in _ALWAYS.items()
        },
    }
    there = {name: ledger[name] for name in ledger.column_names if name in focus.BY_NAME}
    named = {name: {**there, **made}[name] for name in focus.BY_NAME if name in {**there, **made}}
    custom = {name: ledger[name] for name in ledger.column_names if name.startswith(focus.CUSTOM)}
    return pa.table({**named, **custom, "x_HeldFrom": start, "x_HeldUntil": end})


def metadata(schema: pa.Schema) -> dict[str, Any]:
    """The metadata that FOCUS asks for, and what differs from it, under names with x_."""
    columns = [_definition(field) for field in schema]
    return {
        "DataGenerator": {"DataGenerator": "Millrace"},
        "Schema": {
            "SchemaId": digest(columns)[:16],
            "CreationDate": "2026-11-25T00:00:00Z",  # of this list of columns
            "FocusVersion": focus.VERSION,
            "DataGeneratorVersion": version("millrace"),
            "ColumnDefinition": columns,
        },
        "x_Conformance": "aligned with FOCUS, not conformant: mandatory columns are absent",
        "x_AbsentColumns": focus.ABSENT,
        "x_Notes": focus.NOTES,
    }


def _ledger(lake: LakeLocation, run: str | None) -> pa.Table:
    """The ledger's rows of what was spent, or one run's; columns that it lacks are null."""
    tables(lake)  # raises where the folder is no lake
    try:
        log = DeltaTable(lake.uri(LEDGER.name))
    except TableNotFoundError:
        raise UsageError(
            f"the lake {lake} has no ledger", next="run a job there first: millrace run JOB.yaml"
        ) from None
    mine: live_rows.Filters = ()
    if run is not None:
        known = set(live_rows.rows(log, ["x_RunId"])["x_RunId"].to_pylist())
        mine = [("x_RunId", "=", the_run(run, sorted(known), lake))]
    table = live_rows.rows(log, filters=mine)
    table = table.filter(pc.field("x_CostKind") != SAVED)  # nobody was charged for it
    for field in LEDGER.arrow_schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def _described(ledger: pa.Table) -> pa.ChunkedArray:
    """Say what each charge was for."""
    parts = [ledger[name].fill_null("?") for name in ("SkuMeter", "SkuId", "x_CostKind", "x_RunId")]
    meter, sku, kind, run = parts
    return pc.binary_join_element_wise(meter, " of ", sku, ", ", kind, ", run ", run, "")


def _region(price_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The region in a price id, which is sku/region/meter; null where it is another text."""
    found = pc.extract_regex(price_ids, r"^[^/]+/(?P<region>[^/]+)/[^/]+$")
    return pc.struct_field(found, "region")


def _tags(tags: list[dict[str, str]] | None) -> str | None:
    """Tags as the specification has them: an object of keys and values; null where a row has none."""
    named = {each["key"]: each["value"] for each in tags or ()}
    return json.dumps(named, sort_keys=True) if named else None


def _definition(field: pa.Field) -> dict[str, Any]:
    """A column of the export as FOCUS's metadata defines one."""
    known = focus.BY_NAME.get(field.name)
    if pa.types.is_decimal(field.type):
        kind: dict[str, Any] = {"DataType": "DECIMAL", "NumericPrecision": 38, "NumberScale": 12}
    elif pa.types.is_timestamp(field.type):
        kind = {"DataType": "DATETIME"}
    else:
        kind = {"DataType": str(known.type if known else field.type).upper()}
    return {"ColumnName": field.name, **kind}


def _sums(rows: pa.Table) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for name, cost in zip(
        rows["BillingCurrency"].to_pylist(), rows["EffectiveCost"].to_pylist(), strict=True
    ):
        totals[name] = totals.get(name, Decimal(0)) + cost
    return dict(sorted(totals.items()))


def _write_csv(rows: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        safe_csv.write(rows, file)


def _written(out: Path, name: str, write: Callable[[Path], object]) -> Path:
    """Write one file of the folder, whole or not at all. Raises UsageError."""
    path = out / name
    try:
        with whole(path) as draft:
            write(draft)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written", got=str(error), next="name a folder with --focus"
        ) from None
    return path
