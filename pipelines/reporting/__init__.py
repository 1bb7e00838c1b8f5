"""The HTML pages: of a run, of a check, and of all runs of a lake.

In come details from the lake's tables; out go files that need nothing else, with charts as inline SVG.
Read `run_page` first.
"""
