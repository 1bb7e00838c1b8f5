"""Tables of validation: quarantined rows, and the result of each rule."""

from __future__ import annotations

from millrace.schemas.tables.table import Column, Table, struct_of

REASON = (
    Column("rule", "string", "the contract's rule"),
    Column("severity", "string", "error, warn or info"),
    Column("columns", "array<string>", "columns the rule reads"),
    Column("message", "string", "what good rows satisfy"),
    Column(
        "observed",
        "string",
        "the row's values in these columns as JSON, at most 200 characters; binary as size and hash",
    ),
    Column("fingerprint", "string", "the rule's, as in validations"),
)

PAYLOAD_CELL_BYTES = 4_000_000  # of a cell that a payload has in full

QUARANTINE = Table(
    "quarantine",
    "one quarantined row",
    (
        Column("run_id", "string", "the run that refused it"),
        Column("job", "string", "name of the job"),
        Column("key", "string", "the key columns as JSON"),
        Column(
            "payload",
            "string",
            "the row as JSON; binary in base64, cells beyond 4 MB as size and hash",
        ),
        Column("reasons", f"array<{struct_of(REASON)}>", "every rule that the row broke"),
        Column("stage", "string", "validate"),
        Column("quarantined_at", "timestamp", "UTC"),
    ),
)

VALIDATIONS = Table(
    "validations",
    "one rule in one run",
    (
        Column("run_id", "string", "the run that checked it"),
        Column("job", "string", "name of the job"),
        Column("rule", "string", "name of the rule or expectation"),
        Column("kind", "string", "row, unique, reference, freshness or expectation"),
        Column("severity", "string", "error, warn, or an expectation's critical, warning, info"),
        Column("columns", "array<string>", "columns it reads"),
        Column("definition", "string", "what good data satisfies"),
        Column("checked", "bigint", "rows"),
        Column("failed", "bigint", "rows; null where an expectation counts none"),
        Column("threshold", "double", "largest share of failed rows that passes"),
        Column("passed", "boolean", "whether the gate may open"),
        Column("observed", "string", "what an expectation observed, as JSON"),
        Column("result", "string", "an expectation's result as Great Expectations has it, as JSON"),
        Column("fingerprint", "string", "changes when the rule's meaning does"),
        Column("suite_fingerprint", "string", "over all rules of the run"),
        Column("at", "timestamp", "UTC"),
    ),
)
