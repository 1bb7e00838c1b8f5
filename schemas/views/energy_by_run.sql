-- One run: watt-hours with their bounds, what that emitted, how much of it was counted, and per thousand rows.
-- Null where the price book does not say what the machine draws; grams are null without a grid's intensity.
SELECT
  spent.x_RunId AS run_id,
  spent.x_Job AS job,
  SUM(spent.x_EnergyWh) AS energy_wh,
  SUM(spent.x_EnergyWhLow) AS energy_wh_low,
  SUM(spent.x_EnergyWhHigh) AS energy_wh_high,
  SUM(CASE WHEN spent.x_EnergyMethod IN ('counter', 'rapl') THEN spent.x_EnergyWh
    WHEN spent.x_EnergyWh IS NOT NULL THEN 0 END) AS counted_wh,
  SUM(spent.x_CarbonG) AS carbon_g,
  MAX(spent.x_IntensitySource) AS intensity_source,
  SUM(spent.x_EnergyWh) * 1000 / NULLIF(MAX(whole.rows_scored), 0) AS wh_per_thousand_rows,
  SUM(spent.x_CarbonG) * 1000 / NULLIF(MAX(whole.rows_scored), 0) AS carbon_g_per_thousand_rows
FROM ledger AS spent
JOIN (
  SELECT run_id, CAST(SUM(CAST(rows_scored AS DECIMAL(19, 0))) AS DOUBLE) AS rows_scored
  FROM cost_by_run
  GROUP BY run_id
) AS whole
  ON spent.x_RunId = whole.run_id
WHERE spent.x_CostKind <> 'saved'
GROUP BY spent.x_RunId, spent.x_Job
