"""The cost ledger: what each task attempt cost, in the columns of FOCUS."""

from __future__ import annotations

from millrace.schemas.tables.table import Column, Table, struct_of

TAG = (
    Column("key", "string", "what is said"),
    Column("value", "string", "about the run"),
)

LEDGER = Table(
    "ledger",
    "one task attempt x one kind of cost x one meter",
    (
        Column(
            "x_RecordId", "string", "sha256 of what the row is about: writing it twice is noticed"
        ),
        Column("x_RecordType", "string", "ORIGINAL, RETRACTION or RESTATEMENT"),
        Column("x_RunId", "string", "run"),
        Column("x_Job", "string", "name of the job"),
        Column("x_RunAttempt", "int", "event of the run that its attempt began with"),
        Column("x_Unit", "int", "unit of work within the run; null where it is no one unit's"),
        Column("x_AppId", "string", "Spark application"),
        Column("x_StageId", "int", "Spark stage"),
        Column("x_StageAttempt", "int", "0 for the first"),
        Column("x_PartitionId", "int", "Spark partition"),
        Column("x_TaskAttempt", "int", "0 for the first"),
        Column("x_TaskId", "bigint", "Spark's task attempt id"),
        Column("x_ExecutorId", "string", "Spark executor"),
        Column(
            "x_CostKind",
            "string",
            "useful, model_load, startup, calibration, validation, read, write, failed, killed, "
            "speculative, recomputed, driver, idle, unattributed; "
            "saved: what rows that were not computed would have cost, in no sum",
        ),
        Column("x_Outcome", "string", "how Spark ended the task; null where no task held it"),
        Column("x_Committed", "boolean", "whether the rows it made are in the table"),
        Column("ChargePeriodStart", "timestamp", "UTC"),
        Column("ChargePeriodEnd", "timestamp", "UTC"),
        Column("SkuId", "string", "instance type"),
        Column("SkuMeter", "string", "Core, Memory or GPU"),
        Column("SkuPriceId", "string", "line of the price book"),
        Column("ConsumedQuantity", "decimal(38,12)", "in ConsumedUnit"),
        Column("ConsumedUnit", "string", "Core-Seconds, GB-Seconds or GPU-Seconds"),
        Column("ListUnitPrice", "decimal(38,12)", "BillingCurrency a ConsumedUnit"),
        Column("EffectiveCost", "decimal(38,12)", "BillingCurrency"),
        Column("BillingCurrency", "string", "ISO 4217"),
        Column("PricingCategory", "string", "Standard, Dynamic or Committed"),
        Column("x_PriceBookVersion", "string", "hash of the price book"),
        Column("x_CostBasis", "string", "estimated"),
        Column(
            "x_SlotMs",
            "bigint",
            "milliseconds that a slot was held for this row's kind; of idle cores, all together",
        ),
        Column("x_ExecutorRunTimeMs", "bigint", "Spark's run time of the task; on one of its rows"),
        Column("x_GcMs", "bigint", "of it, the JVM's garbage collection"),
        Column("x_JvmCpuNs", "bigint", "the JVM's CPU time for the task, nanoseconds"),
        Column("x_PyBootMs", "bigint", "starting the Python worker, by Spark's clock"),
        Column("x_PyInitMs", "bigint", "initializing it, by Spark's clock"),
        Column("x_PyRunMs", "bigint", "from asking for it until it had run, by Spark's clock"),
        Column(
            "x_GpuBusyMs",
            "bigint",
            "milliseconds that a GPU computed; on useful rows; null where there is none",
        ),
        Column("x_PyCpuNs", "bigint", "the worker's own CPU time, nanoseconds; on useful rows"),
        Column("x_RowsIn", "bigint", "rows; on useful rows"),
        Column("x_RowsOut", "bigint", "rows scored; on useful rows"),
        Column("x_Tokens", "bigint", "tokens; on useful rows"),
        Column("x_Bytes", "bigint", "bytes of model inputs; on useful rows"),
        Column("x_PeakRssBytes", "bigint", "largest memory of the worker so far; on useful rows"),
        Column(
            "x_GpuMemoryBytes",
            "bigint",
            "largest memory that it held on its GPU so far, bytes; on useful rows; null without one",
        ),
        Column("x_EnergyWh", "double", "watt-hours, on one meter's row of those that share a time"),
        Column("x_EnergyWhLow", "double", "watt-hours at the lower bound of x_EnergyMethod"),
        Column("x_EnergyWhHigh", "double", "watt-hours at its upper bound"),
        Column("x_CarbonG", "double", "grams of CO2 equivalent; null without a grid's intensity"),
        Column(
            "x_EnergyMethod",
            "string",
            "counter (within 15 %), rapl (15 %), tdp (40 %) or constant (60 %)",
        ),
        Column("x_IntensitySource", "string", "who says what the grid emits; null without carbon"),
        Column("Tags", f"array<{struct_of(TAG)}>", "the job's cost.tags"),
        Column("x_Quality", "string", "measured, or what is missing"),
        Column(
            "x_Corrects", "string", "the record that this one takes back, or says again; or null"
        ),
        Column("x_Revision", "int", "1, 2 ... of the run's repricings; null on an ORIGINAL"),
    ),
)
