"""Texts to token ids, by the model folder's own files.

Input: a folder and texts. Output: ids, cut at the model's positions. Read `tokenizer` first.
"""
