"""Readers of text and image files: CSV, JSON Lines, idx, and columns that folder names have.

Input: files. Output: record batches of declared types; a bad record stays a row, with its reason. Read
`files` first.
"""
