-- One row that a run refused and a replay took up or left out: the old reasons, the new run, the outcome.
-- A key that was refused twice has two lines. Reasons are null for a row that failed at the model.
-- What a replay knows is by key, so rows that share one share its outcome.
SELECT
  planned.job,
  planned.replayed_run,
  planned.key,
  before.reasons,
  planned.run_id,
  CASE
    WHEN planned.left_out = 'scored' OR ended.left_out = 'scored' THEN 'left out: scored already'
    WHEN planned.left_out IS NOT NULL THEN 'left out: no key'
    WHEN ended.key IS NULL THEN 'not finished'
    WHEN ended.scored > 0 AND (ended.failed > 0 OR ended.refused > 0) THEN 'scored in part'
    WHEN ended.scored > 0 THEN 'scored'
    WHEN ended.failed > 0 THEN 'failed'
    WHEN ended.refused > 0 THEN 'refused again'
    ELSE 'not in the source'
  END AS outcome
FROM (SELECT * FROM replays WHERE state = 'planned' AND key IS NOT NULL) AS planned
LEFT JOIN (SELECT * FROM replays WHERE state = 'done') AS ended
  ON planned.run_id = ended.run_id AND planned.key = ended.key
LEFT JOIN (SELECT run_id, key, reasons FROM quarantine) AS before
  ON planned.replayed_run = before.run_id AND planned.key = before.key
