"""Words: text into ids, windows, skip-gram and CBOW, updates of rows that cannot overshoot.

Stands on `kernels.core`. A newcomer opens `train_windows`: a batch of windows, phase by phase.
"""
