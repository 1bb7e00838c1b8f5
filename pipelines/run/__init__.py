"""A run: validate, score, account, each step committed once however often it is tried.

In come a session and a job; out go committed units, ledger rows, events, and a `RunSummary`. Read `runner`
first.
"""
