"""The driver: from a job file to committed predictions and a ledger of what they cost.

A command or spark-submit brings a job file; tables of the lake, pages and exit codes go out. Nothing here
imports torch. Read `millrace.pipelines.run.runner` first: a run from its first step to its last.
"""
