"""The tables and files of a lake: commits, runs, locks, and what can be removed.

In come Arrow tables, Parquet files and events; out go Delta commits that happen once, and rows read back.
Read `location`, then `delta`.
"""
