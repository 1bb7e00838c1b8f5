"""Graphs that Millrace makes of a model folder: networks, heads, precisions.

Input: a folder and its card. Output: a torch module from decoded arrays to the last tensor. Read `build`
first.
"""
