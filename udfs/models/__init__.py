"""Model folders: loaded, verified, converted, imported.

Input: a folder and its ``model.yaml``. Output: a model with two methods, `decode` and `predict`. Read
`model_loading` first.
"""
