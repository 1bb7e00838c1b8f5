"""The engine in Spark: UDFs, the process that forks workers, isolation of crashes.

Input: Spark's Arrow batches. Output: scored batches. Read `functions` first.
"""
