-- One key: its latest good score. Latest is the run whose inference began last; run_id breaks ties.
-- A template: {{table}} is a predictions table, {{key}} its key columns, {{columns}} all but error, _meter.
SELECT
  {columns}
FROM (
  SELECT
    {columns},
    ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY scored_at DESC, run_id DESC, unit DESC) AS newest
  FROM {table}
  WHERE error IS NULL
) AS scored
WHERE newest = 1
