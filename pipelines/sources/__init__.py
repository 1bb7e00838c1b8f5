"""Reading input: which files there are, what they hold, and rows exactly as declared.

In come a source's path, format and declared columns; out go a pinned snapshot, and a DataFrame of exactly
those files. Read `reader` first.
"""
