"""The cost of a run: time, energy and money for each second of allocated machines.

In come committed meters, Spark's own task times and a price book; out go ledger rows that add up, and
corrections of them. Read `ledger` first.
"""
