"""Output for people and logs: numbers as text, durations, JSON, CSV, progress, summaries, signals.

In come values and events; out go standard output, the error stream and an exit code. Read `output` first.
"""
