"""Sampled and full softmax: candidates drawn, scores, losses, gradients, rows updated.

Stands on `kernels.core`. A newcomer opens `step`: one step of the layer, phase by phase.
"""
