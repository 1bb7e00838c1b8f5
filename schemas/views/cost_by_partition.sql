-- One partition of one Spark stage of one run: rows, seconds that slots were held, by kind, and cost.
-- Stage numbers start again with each application, so a resumed run needs app_id to tell them apart.
-- Each attempt and kind has one ledger row a meter; seconds and rows are those of the Core meter.
-- What was taken back as a whole, such as a bill in another currency, has no row.
SELECT
  run_id,
  job,
  unit,
  app_id,
  stage_id,
  partition_id,
  COUNT(DISTINCT task_id) AS attempts,
  CAST(SUM(rows_scored) AS BIGINT) AS rows_scored,
  CAST(SUM(slot_ms) AS DOUBLE) / 1000 AS slot_s,
  CAST(SUM(CASE WHEN kind = 'useful' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS useful_s,
  CAST(SUM(CASE WHEN kind = 'model_load' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS model_load_s,
  CAST(SUM(CASE WHEN kind = 'startup' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS startup_s,
  CAST(SUM(CASE WHEN kind = 'validation' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS validation_s,
  CAST(SUM(CASE WHEN kind = 'read' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS read_s,
  CAST(SUM(CASE WHEN kind = 'write' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS write_s,
  CAST(SUM(CASE WHEN kind = 'calibration' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000
    AS calibration_s,
  CAST(SUM(CASE WHEN kind = 'idle' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS idle_s,
  CAST(SUM(CASE WHEN kind = 'driver' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS driver_s,
  CAST(SUM(CASE WHEN kind = 'speculative' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000
    AS speculative_s,
  CAST(SUM(CASE WHEN kind = 'recomputed' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS recomputed_s,
  CAST(SUM(CASE WHEN kind = 'failed' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS failed_s,
  CAST(SUM(CASE WHEN kind = 'killed' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000 AS killed_s,
  CAST(SUM(CASE WHEN kind = 'unattributed' THEN slot_ms ELSE 0 END) AS DOUBLE) / 1000
    AS unattributed_s,
  SUM(cost) AS cost,
  currency
FROM (
  SELECT
    x_RunId AS run_id,
    x_Job AS job,
    x_Unit AS unit,
    x_AppId AS app_id,
    x_StageId AS stage_id,
    x_PartitionId AS partition_id,
    x_TaskId AS task_id,
    x_CostKind AS kind,
    CAST(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END AS DECIMAL(19, 0)) AS slot_ms,
    CAST(CASE
      WHEN SkuMeter = 'Core' AND x_CostKind = 'useful' AND COALESCE(x_Committed, TRUE) THEN x_RowsOut
      ELSE 0
    END AS DECIMAL(19, 0)) AS rows_scored,
    CAST(EffectiveCost AS DECIMAL(28, 12)) AS cost,
    BillingCurrency AS currency,
    CASE WHEN x_RecordType = 'RETRACTION' THEN -1 ELSE 1 END AS records
  FROM ledger
  WHERE x_CostKind <> 'saved'
) AS spent
GROUP BY run_id, job, unit, app_id, stage_id, partition_id, currency
HAVING SUM(records) > 0
