-- One day of one job, in UTC: by when what was held began to be held. Seconds are those of the Core meter.
SELECT
  CAST(ChargePeriodStart AS DATE) AS day,
  x_Job AS job,
  COUNT(DISTINCT x_RunId) AS runs,
  CAST(SUM(CAST(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END AS DECIMAL(19, 0))) AS DOUBLE) / 1000
    AS slot_s,
  SUM(CAST(EffectiveCost AS DECIMAL(28, 12))) AS cost,
  BillingCurrency AS currency
FROM ledger
WHERE x_CostKind <> 'saved'
GROUP BY CAST(ChargePeriodStart AS DATE), x_Job, BillingCurrency
HAVING SUM(CASE WHEN x_RecordType = 'RETRACTION' THEN -1 ELSE 1 END) > 0
