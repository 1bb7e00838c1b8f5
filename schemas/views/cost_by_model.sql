-- One model of one job: its runs, the rows that they scored, seconds that slots were held, and cost.
SELECT
  told.model,
  spent.job,
  COUNT(DISTINCT spent.run_id) AS runs,
  CAST(SUM(CAST(spent.rows_scored AS DECIMAL(19, 0))) AS BIGINT) AS rows_scored,
  SUM(spent.slot_s) AS slot_s,
  SUM(CAST(spent.cost AS DECIMAL(28, 12))) AS cost,
  CAST(SUM(CAST(spent.cost AS DECIMAL(28, 12))) AS DOUBLE) * 1000
    / NULLIF(CAST(SUM(CAST(spent.rows_scored AS DECIMAL(19, 0))) AS DOUBLE), 0) AS cost_per_thousand_rows,
  spent.currency
FROM cost_by_run AS spent
JOIN (SELECT run_id, MAX(model) AS model FROM runs GROUP BY run_id) AS told
  ON spent.run_id = told.run_id
GROUP BY told.model, spent.job, spent.currency
