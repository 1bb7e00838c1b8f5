-- One run: what a million tokens that its model read cost, in currency and in seconds; no row without tokens.
SELECT
  whole.run_id,
  whole.job,
  whole.started_at,
  told.tokens,
  CAST(whole.cost AS DOUBLE) * 1000000 / told.tokens AS cost_per_million_tokens,
  whole.slot_s * 1000000 / told.tokens AS slot_s_per_million_tokens,
  whole.currency
FROM cost_by_run AS whole
JOIN (
  SELECT
    x_RunId AS run_id,
    BillingCurrency AS currency,
    CAST(SUM(CAST(x_Tokens AS DECIMAL(19, 0))) AS BIGINT) AS tokens
  FROM ledger
  WHERE SkuMeter = 'Core' AND x_CostKind = 'useful' AND COALESCE(x_Committed, TRUE)
  GROUP BY x_RunId, BillingCurrency
  HAVING SUM(CAST(x_Tokens AS DECIMAL(19, 0))) > 0
) AS told
  ON whole.run_id = told.run_id AND COALESCE(whole.currency, '') = COALESCE(told.currency, '')
