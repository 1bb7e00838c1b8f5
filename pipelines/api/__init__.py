"""The Python API, which `millrace` exports: for notebooks, schedulers, tests and the commands.

In come jobs, as values or as files; out go totals, verdicts, forecasts and Arrow tables. Read `jobs` first.
"""
