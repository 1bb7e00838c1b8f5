"""A job, prepared: everything that is decided before a row is read.

In come a job file's settings; out goes `PreparedJob`: contract, verified model, pinned input
and price. Read `prepared_job` first.
"""
