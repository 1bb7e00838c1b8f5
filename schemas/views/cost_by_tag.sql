-- One value of one tag (cost.tags of the jobs): runs that had it, and their cost. A run with two tags is under both.
SELECT
  tag['key'] AS tag,
  tag['value'] AS value,
  COUNT(DISTINCT run_id) AS runs,
  SUM(CAST(cost AS DECIMAL(28, 12))) AS cost,
  currency
FROM (
  SELECT
    x_RunId AS run_id,
    UNNEST(Tags) AS tag,
    EffectiveCost AS cost,
    BillingCurrency AS currency
  FROM ledger
  WHERE x_CostKind <> 'saved'
) AS spent
GROUP BY tag['key'], tag['value'], currency
