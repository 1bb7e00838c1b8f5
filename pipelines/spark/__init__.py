"""Spark: the session, the cluster, its errors, and its record of tasks.

In come settings and the environment; out go a session that writes Delta, task times, and errors of ours.
Read `session` first.
"""
