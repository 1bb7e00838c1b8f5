"""Tables of runs: their events, units, calibrations and replays."""

from __future__ import annotations

from millrace.schemas.tables.table import Column, Table

RUNS = Table(
    "runs",
    "one event in a run's life",
    (
        Column("run_id", "string", "run"),
        Column("event", "int", "0, 1, 2 ... within the run; the largest is the run's state"),
        Column("number", "int", "1, 2, 3 ... of the job's runs, in the order in which they began"),
        Column("series", "int", "0 for the fingerprint's first run; counts those asked for afresh"),
        Column("application", "string", "Spark application of this attempt"),
        Column(
            "held_since", "timestamp", "when the machines began to be held for this attempt, UTC"
        ),
        Column("books_closed_at", "timestamp", "until when its costs are in the ledger, UTC"),
        Column("price", "string", "the price that applies, as JSON; null without a price book"),
        Column("job", "string", "name of the job"),
        Column("fingerprint", "string", "sha256 of everything that decides the results"),
        Column("state", "string", "started, resumed, done, refused, stopped or failed"),
        Column("at", "timestamp", "UTC"),
        Column("pinned_input", "string", "what was read, as JSON"),
        Column(
            "replays",
            "string",
            "the run whose quarantined rows it takes up; null: all of its input",
        ),
        Column("model", "string", "name and version"),
        Column("model_digest", "string", "sha256 of the model folder"),
        Column("settings", "string", "engine settings as they were resolved, as JSON"),
        Column("rows_read", "bigint", "rows"),
        Column("scored", "bigint", "rows"),
        Column("quarantined", "bigint", "rows"),
        Column("failed", "bigint", "rows"),
        Column("units_done", "int", "units of work"),
        Column("units_total", "int", "units of work"),
        Column("wall_s", "double", "seconds on the driver's clock, of the last attempt"),
        Column("infer_s", "double", "of wall_s: the inference stage and its commit, seconds"),
        Column("model_load_s", "double", "seconds spent loading the model, all workers together"),
        Column("cost", "decimal(38,12)", "currency; null without a price book"),
        Column("currency", "string", "ISO 4217"),
        Column("energy_wh", "double", "watt-hours; null where what the machine draws is not known"),
        Column("energy_wh_low", "double", "watt-hours, at least"),
        Column("energy_wh_high", "double", "watt-hours, at most"),
        Column("carbon_g", "double", "grams of CO2 equivalent; null without a grid's intensity"),
        Column(
            "ledger_coverage",
            "double",
            "share of Spark's task time of which the ledger knows the kind",
        ),
        Column(
            "gates", "string", "what must add up, as JSON: each gate's name, result and figures"
        ),
        Column("books_closed", "boolean", "whether rows and seconds add up; null where unknown"),
        Column(
            "forecast",
            "string",
            "the forecast before scoring, as JSON: seconds of inference and cost of the run, each "
            "low, mid, high, and what that rests on; null without a forecast",
        ),
        Column("detail", "string", "why a run was refused or failed"),
    ),
)

CALIBRATIONS = Table(
    "calibrations",
    "one way to compute a model, as it was measured before a run",
    (
        Column("run_id", "string", "the run that measured it, or took it over from an earlier one"),
        Column("job", "string", "name of the job"),
        Column("at", "timestamp", "UTC"),
        Column("model", "string", "name and version"),
        Column("model_digest", "string", "sha256 of the model folder"),
        Column("asked", "string", "device, backend and precision that the job asks for, as JSON"),
        Column("machine", "string", "processor or card, and versions of what computes, as JSON"),
        Column("expected_rows", "bigint", "rows of the run, about"),
        Column("place", "int", "0 for fp32 in the model's own format, with which all are compared"),
        Column("backend", "string", "torch, torch_compile, onnxruntime or openvino"),
        Column("precision", "string", "fp32, bf16, fp16 or int8"),
        Column("rows_per_s", "double", "rows a second on one worker's cores; null: not measured"),
        Column("batch_cost", "bigint", "best batch: padded tokens, or rows where shapes are equal"),
        Column("load_s", "double", "converting and loading the model, seconds"),
        Column("errors", "string", "largest differences from fp32 on the sample, as JSON"),
        Column("within", "boolean", "whether they are within the model's tolerance"),
        Column("why", "string", "why it cannot be taken, or was not measured"),
        Column("folder", "string", "the model folder it read: the job's, or one converted from it"),
        Column("digest", "string", "sha256 of that folder"),
        Column("chosen", "boolean", "whether the run computes with it"),
    ),
)

UNITS = Table(
    "units",
    "one unit of work as it was planned, or as it was committed",
    (
        Column("run_id", "string", "run"),
        Column("job", "string", "name of the job"),
        Column("unit", "int", "0, 1, 2 ... within the run"),
        Column("state", "string", "planned or done"),
        Column("files", "array<string>", "names below the source, while it is planned"),
        Column("bytes", "bigint", "size of the files, bytes"),
        Column("expected_rows", "bigint", "rows, about"),
        Column("scored", "bigint", "rows; null while it is planned"),
        Column("failed", "bigint", "rows; null while it is planned"),
        Column("computed_with", "string", "model, backend, precision and device; once it is done"),
        Column(
            "too_large", "bigint", "least cost of a call that ran out of memory; null: none did"
        ),
        Column(
            "seconds",
            "double",
            "from its Spark job's start to its commit; 0: recorded by a later attempt",
        ),
        Column("transaction", "string", "its commit's name in the predictions table"),
        Column("application", "string", "Spark application that committed it"),
        Column("at", "timestamp", "UTC"),
    ),
)

REPLAYS = Table(
    "replays",
    "one key of a replay as it was planned, or as it ended",
    (
        Column("run_id", "string", "the replay"),
        Column("job", "string", "name of the job"),
        Column("replayed_run", "string", "the run whose quarantined rows it takes up"),
        Column("state", "string", "planned or done"),
        Column("key", "string", "the key columns as JSON; null on the line that counts strangers"),
        Column(
            "rows_before", "bigint", "rows that the replayed run quarantined, or could not score"
        ),
        Column(
            "left_out",
            "string",
            "why it is not taken up: scored (where the state is done: by another replay, meanwhile), no key, "
            "or stranger (a row of the repaired source that the run did not refuse); null: it is",
        ),
        Column("scored", "bigint", "rows that the replay scored; null while it is planned"),
        Column("failed", "bigint", "rows that it could not score; null while it is planned"),
        Column("refused", "bigint", "rows that it quarantined again; null while it is planned"),
        Column("at", "timestamp", "UTC"),
    ),
)
