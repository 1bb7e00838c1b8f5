"""Drift of data against a baseline, and the monitor of a run.

In come profiles of columns; out go findings, warnings, and refusals of outputs. Read `monitor` first.
"""
