"""What runs inside a Python worker: Arrow batches in, the same rows with predictions out.

Only `millrace.udfs.worker` imports Spark. Read `millrace.udfs.engine.scoring` first.
"""
