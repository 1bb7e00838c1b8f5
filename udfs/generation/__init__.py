"""Text generation: many prompts at a time, each as if it were alone.

Input: prompts. Output: texts and token counts. Read `causal_model` first.
"""
