"""The schema of every Delta table, each column with its meaning and unit.

Read `table` first. The other modules each define the tables of one subject; all are imported from here.
"""

from __future__ import annotations

from millrace.schemas.tables.ledger import LEDGER
from millrace.schemas.tables.monitoring import BASELINES, DRIFT, PROFILES
from millrace.schemas.tables.prediction_tables import (
    ERROR,
    METER,
    MODEL_WARNINGS,
    RESERVED,
    TRUNCATED,
    predictions,
    predictions_name,
)
from millrace.schemas.tables.runs import CALIBRATIONS, REPLAYS, RUNS, UNITS
from millrace.schemas.tables.table import ROLE, Column, Table, leaves, struct_of
from millrace.schemas.tables.validation import PAYLOAD_CELL_BYTES, QUARANTINE, REASON, VALIDATIONS

__all__ = [
    "BASELINES",
    "CALIBRATIONS",
    "DRIFT",
    "ERROR",
    "LEDGER",
    "METER",
    "MODEL_WARNINGS",
    "PAYLOAD_CELL_BYTES",
    "PROFILES",
    "QUARANTINE",
    "REASON",
    "REPLAYS",
    "RESERVED",
    "ROLE",
    "RUNS",
    "TRUNCATED",
    "UNITS",
    "VALIDATIONS",
    "Column",
    "Table",
    "leaves",
    "predictions",
    "predictions_name",
    "struct_of",
]
