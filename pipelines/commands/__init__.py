"""The commands of ``millrace``: each parses its options, calls `millrace.pipelines.api`, and prints.

In come the arguments of a command line; out go lines for people or one JSON object. Read `run` first.
"""
