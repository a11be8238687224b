"""Item retrieval: histories of events, vectors of items, the layers of the user tower.

Stands on `kernels.core`. A newcomer opens `tower`: forward, backward and update of the network.
"""
