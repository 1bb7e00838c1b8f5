-- One run: rows scored and kept, seconds that slots were held, and what that cost.
-- What it saved is in none of the sums, but the rows that it needed no model for are: once, in whatever
-- currency they were priced.
-- Each attempt and kind has one ledger row a meter; seconds and rows are those of the Core meter.
-- What was taken back as a whole, such as a bill in another currency, has no row.
SELECT
  spent.run_id,
  spent.job,
  spent.started_at,
  spent.ended_at,
  CAST(
    spent.rows_scored + CASE WHEN spent.place = 1 THEN COALESCE(saved.rows_scored, 0) ELSE 0 END
    AS BIGINT
  ) AS rows_scored,
  spent.slot_s,
  spent.useful_s,
  spent.cost,
  spent.currency
FROM (
  SELECT
    x_RunId AS run_id,
    x_Job AS job,
    MIN(ChargePeriodStart) AS started_at,
    MAX(ChargePeriodEnd) AS ended_at,
    SUM(CAST(CASE
      WHEN SkuMeter = 'Core' AND x_CostKind = 'useful' AND COALESCE(x_Committed, TRUE)
        THEN x_RowsOut
      ELSE 0
    END AS DECIMAL(19, 0))) AS rows_scored,
    CAST(SUM(CAST(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END AS DECIMAL(19, 0))) AS DOUBLE) / 1000
      AS slot_s,
    CAST(SUM(CAST(CASE
      WHEN SkuMeter = 'Core' AND x_CostKind = 'useful' THEN x_SlotMs
      ELSE 0
    END AS DECIMAL(19, 0))) AS DOUBLE) / 1000 AS useful_s,
    SUM(CAST(EffectiveCost AS DECIMAL(28, 12))) AS cost,
    BillingCurrency AS currency,
    ROW_NUMBER() OVER (PARTITION BY x_RunId ORDER BY BillingCurrency) AS place
  FROM ledger
  WHERE x_CostKind <> 'saved'
  GROUP BY x_RunId, x_Job, BillingCurrency
  HAVING SUM(CASE WHEN x_RecordType = 'RETRACTION' THEN -1 ELSE 1 END) > 0
) AS spent
LEFT JOIN (
  SELECT x_RunId AS run_id, SUM(CAST(x_RowsOut AS DECIMAL(19, 0))) AS rows_scored
  FROM ledger
  WHERE x_CostKind = 'saved' AND SkuMeter = 'Core'
  GROUP BY x_RunId
) AS saved
  ON spent.run_id = saved.run_id
