-- One run at one price that the ledger knows: what the cores that it held would have cost there.
-- Cores stay, with the memory and the GPUs that the other machine has for each; the time stays too, which on a
-- faster machine it would not. `millrace reprice --dry-run` does the same with any price book.
SELECT
  held.run_id,
  held.job,
  held.core_s,
  price.sku,
  price.region,
  price.category,
  price.price_book,
  held.core_s * price.cost_per_core_s AS cost_if,
  price.currency
FROM (
  SELECT
    x_RunId AS run_id,
    x_Job AS job,
    CAST(SUM(CAST(CASE WHEN SkuMeter = 'Core' THEN ConsumedQuantity END AS DECIMAL(28, 12))) AS DOUBLE)
      AS core_s
  FROM ledger
  WHERE x_CostKind <> 'saved'
  GROUP BY x_RunId, x_Job
) AS held
CROSS JOIN (
  SELECT
    SkuId AS sku,
    SPLIT_PART(SkuPriceId, '/', 2) AS region,
    PricingCategory AS category,
    x_PriceBookVersion AS price_book,
    BillingCurrency AS currency,
    CAST(SUM(CAST(EffectiveCost AS DECIMAL(28, 12))) AS DOUBLE)
      / NULLIF(CAST(SUM(CAST(CASE WHEN SkuMeter = 'Core' THEN ConsumedQuantity END AS DECIMAL(28, 12))) AS DOUBLE), 0)
      AS cost_per_core_s
  FROM ledger
  WHERE SkuPriceId IS NOT NULL AND x_CostKind <> 'saved'
    AND COALESCE(x_RecordType, 'ORIGINAL') <> 'RETRACTION'
  GROUP BY
    SkuId,
    SPLIT_PART(SkuPriceId, '/', 2),
    PricingCategory,
    x_PriceBookVersion,
    BillingCurrency
) AS price
WHERE price.cost_per_core_s IS NOT NULL
