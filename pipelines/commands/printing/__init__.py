"""Values of the API as text for people: a run, the runs of a lake, rows of a query, a dry run.

In come values; out goes standard output. Read `run_details` first.
"""
