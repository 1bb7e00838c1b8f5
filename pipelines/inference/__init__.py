"""The inference pass as Spark runs it: how to compute, with which workers, and which rows need no model.

In come a prepared job and its accepted rows; out goes a DataFrame with predictions, errors and meters.
Read `scoring` first.
"""
