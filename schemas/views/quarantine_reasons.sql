-- One rule of one job: rows that were quarantined for it, over all runs. A row that broke two rules is
-- under both. What `millrace validate` found is no run's, and a rule of severity warn quarantines no row.
SELECT
  job,
  reason['rule'] AS rule,
  reason['severity'] AS severity,
  COUNT(*) AS refused,
  COUNT(DISTINCT run_id) AS runs
FROM (
  SELECT quarantine.job, quarantine.run_id, UNNEST(quarantine.reasons) AS reason
  FROM quarantine
  JOIN (SELECT DISTINCT run_id FROM runs) AS known ON quarantine.run_id = known.run_id
) AS broken
WHERE reason['severity'] = 'error'
GROUP BY job, reason['rule'], reason['severity']
