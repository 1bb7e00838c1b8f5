-- One rule of one job: rows that broke it, over all runs. A row that broke two rules is under both.
SELECT
  job,
  reason['rule'] AS rule,
  reason['severity'] AS severity,
  COUNT(*) AS refused,
  COUNT(DISTINCT run_id) AS runs
FROM (SELECT job, run_id, UNNEST(reasons) AS reason FROM quarantine) AS broken
GROUP BY job, reason['rule'], reason['severity']
