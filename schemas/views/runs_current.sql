-- One run, as its last event left it. The largest event number decides, not the clock.
SELECT
  runs.*
FROM runs
JOIN (SELECT run_id, MAX(event) AS event FROM runs GROUP BY run_id) AS latest
  ON runs.run_id = latest.run_id AND runs.event = latest.event
