"""A host process that owns a device and computes for many workers.

Input: Arrow record batches over a socket and shared memory. Output: the model's outputs, the same way.
Read `server` first, then `client`.
"""
