"""Queries of a lake without Spark: SQL, the shipped views, and the details of a run.

In come SQL or the id of a run; out go Arrow tables and `RunDetails`. Read `engine` first.
"""
