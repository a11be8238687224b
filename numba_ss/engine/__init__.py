"""Sampled softmax itself: losses, samplers, the layer, exact evaluation over all classes.

Stands on `kernels.softmax` alone: it reads no file and runs no epoch. A newcomer opens `layer`
(one step with updates) or `losses` (TensorFlow's functions); both give their arrays to `passes`,
which calls the kernels.
"""
