"""What every worker process needs: its plan, decoding, outputs, memory, watchdog.

Input: Arrow columns. Output: what a model reads, and the columns of its outputs. Read `plan` first.
"""
