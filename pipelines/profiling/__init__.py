"""Profiles of columns: counts, mergeable sketches, and distances between two of them.

In come columns of a DataFrame; out go profiles, and what is wrong with a unit's outputs. Read `profiles`
first.
"""
