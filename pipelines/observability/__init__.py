"""Observability of runs for other systems: OpenLineage events and Prometheus metrics.

In come the tables of a lake; out go events, to a URL or a file, and metrics as text. Read `run_observers`
first.
"""
