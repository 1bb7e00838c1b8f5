-- One run: rows scored and kept, seconds that slots were held, and what that cost.
-- What it saved is in none of the sums, but the rows that it needed no model for are.
-- Each attempt and kind has one ledger row a meter; seconds and rows are those of the Core meter.
-- What was taken back as a whole, such as a bill in another currency, has no row.
SELECT
  x_RunId AS run_id,
  x_Job AS job,
  MIN(ChargePeriodStart) AS started_at,
  MAX(ChargePeriodEnd) AS ended_at,
  SUM(CASE
    WHEN SkuMeter = 'Core' AND x_CostKind IN ('useful', 'saved') AND COALESCE(x_Committed, TRUE)
      THEN x_RowsOut
    ELSE 0
  END) AS rows_scored,
  CAST(SUM(CASE
    WHEN SkuMeter = 'Core' AND x_CostKind <> 'saved' THEN x_SlotMs
    ELSE 0
  END) AS DOUBLE) / 1000 AS slot_s,
  CAST(SUM(CASE
    WHEN SkuMeter = 'Core' AND x_CostKind = 'useful' THEN x_SlotMs
    ELSE 0
  END) AS DOUBLE) / 1000 AS useful_s,
  SUM(CASE WHEN x_CostKind <> 'saved' THEN EffectiveCost END) AS cost,
  BillingCurrency AS currency
FROM ledger
GROUP BY x_RunId, x_Job, BillingCurrency
HAVING SUM(CASE WHEN x_RecordType = 'RETRACTION' THEN -1 ELSE 1 END) > 0
