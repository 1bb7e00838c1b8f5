-- One key: its latest good score. Latest is by the number of the run, not by the clock; of runs that began
-- at the same moment and share a number, the larger run_id counts.
-- A template: {{table}} is a predictions table, {{key}} its key columns, {{columns}} all but error, _meter.
SELECT
  {columns}
FROM (
  SELECT
    {columns},
    ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY _number DESC, run_id DESC, unit DESC) AS newest
  FROM {table}
  JOIN (SELECT run_id AS _run_id, number AS _number FROM runs WHERE event = 0) AS begun
    ON run_id = _run_id
  WHERE error IS NULL
) AS scored
WHERE newest = 1
