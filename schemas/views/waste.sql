-- One run and one kind of lost work: seconds, cost, and its share of the run's cost (0 to 1).
-- Idle cores and start-up are overhead, not waste: cost_by_partition has them.
-- Kind "uncommitted" is scoring that succeeded, but whose rows are not in the table.
SELECT
  lost.run_id,
  lost.job,
  lost.kind,
  CAST(SUM(CAST(lost.slot_ms AS DECIMAL(19, 0))) AS DOUBLE) / 1000 AS slot_s,
  SUM(CAST(lost.cost AS DECIMAL(28, 12))) AS cost,
  CAST(SUM(CAST(lost.cost AS DECIMAL(28, 12))) AS DOUBLE)
    / NULLIF(CAST(MAX(whole.cost) AS DOUBLE), 0) AS share_of_cost,
  lost.currency
FROM (
  SELECT
    x_RunId AS run_id,
    x_Job AS job,
    CASE WHEN x_CostKind = 'useful' THEN 'uncommitted' ELSE x_CostKind END AS kind,
    CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END AS slot_ms,
    EffectiveCost AS cost,
    BillingCurrency AS currency
  FROM ledger
  WHERE x_CostKind IN ('failed', 'killed', 'speculative', 'recomputed', 'unattributed')
    OR (x_CostKind = 'useful' AND NOT COALESCE(x_Committed, TRUE))
) AS lost
JOIN cost_by_run AS whole
  ON lost.run_id = whole.run_id AND COALESCE(lost.currency, '') = COALESCE(whole.currency, '')
GROUP BY lost.run_id, lost.job, lost.kind, lost.currency
