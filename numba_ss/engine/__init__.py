"""Sampled softmax itself: losses, samplers, the layer, exact evaluation over all classes.

This room uses `kernels.softmax` and `kernels.core` alone: it reads no file and runs no epoch. A
newcomer opens `layer` (one step with updates) or `losses` (TensorFlow's functions). Both give their
arrays to `sampled_pass`, or to `full_pass` for all classes, and these call the kernels. A new
sampler is a subclass of `CandidateSampler` in `samplers`, and gets its name in `by_name`.

Why are results the same for any number of threads? A random number is a function of seed, call
and position. The order of every sum depends on the batch alone. A thread that subtracts gradients
from the weights does so for some columns of all rows, in the order of the rows. With two threads,
an update that lets them race ("hogwild") takes 0.73 to 0.85 of the time. That would save 2 to 3 %
of a step, and nothing with one thread.

Why does a small call use one thread? Below a million multiplications, waking a second thread
costs more than it saves. Above that it depends on the machine. On cores that share a cache, a step
of 1,024 examples and 64 candidates took 0.09 ms with two threads and 0.15 ms with one. On cores of
two chips, it took 0.18 ms with two and 0.15 ms with one. So a layer tries the other number of
threads for a few steps now and then, and keeps the faster one (`autotune`).
"""
