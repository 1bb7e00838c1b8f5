-- One Spark stage that scored rows: its slowest partition, the median one, and how many times as slow that is.
-- A stage waits for its slowest partition: 1 is even, and a large number with few partitions may be chance.
SELECT
  run_id,
  job,
  unit,
  app_id,
  stage_id,
  COUNT(*) AS partitions,
  MAX(slot_s) AS slowest_s,
  MEDIAN(slot_s) AS median_s,
  MAX(slot_s) / NULLIF(MEDIAN(slot_s), 0) AS skew
FROM (
  SELECT run_id, job, unit, app_id, stage_id, partition_id, MAX(slot_s) AS slot_s
  FROM cost_by_partition
  WHERE useful_s > 0
  GROUP BY run_id, job, unit, app_id, stage_id, partition_id
) AS each_one
GROUP BY run_id, job, unit, app_id, stage_id
