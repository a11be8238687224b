"""Item retrieval: histories of events, mean item vectors, the tower's layers.

Stands on `kernels.core`.
"""
