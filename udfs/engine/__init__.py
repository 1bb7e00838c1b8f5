"""The scoring loop, without Spark: windows, batches, isolation of bad rows, metering.

Input: Arrow batches and a model. Output: the same rows in order, with outputs, errors and meters. Read
`scoring` first.
"""
