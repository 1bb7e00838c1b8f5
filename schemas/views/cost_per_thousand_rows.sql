-- One run: what a thousand scored rows cost, in currency and in seconds; null where none was scored.
SELECT
  run_id,
  job,
  started_at,
  rows_scored,
  CAST(cost AS DOUBLE) * 1000 / NULLIF(rows_scored, 0) AS cost_per_thousand_rows,
  slot_s * 1000 / NULLIF(rows_scored, 0) AS slot_s_per_thousand_rows,
  currency
FROM cost_by_run
