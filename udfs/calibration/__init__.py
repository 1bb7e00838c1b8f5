"""Measures which variant of a model is fastest within its tolerance, in a child process.

Input: a model folder and sample rows. Output: measurements, and the best of them. Read `measure` first.
"""
