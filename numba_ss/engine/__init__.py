"""Sampled softmax itself: losses, samplers, the layer, exact evaluation over all classes.

Stands on `kernels.softmax` alone: it reads no file and runs no epoch. A newcomer opens `layer`
(one step with updates) or `losses` (TensorFlow's functions); both give their arrays to
`sampled_pass`, or over all classes to `full_pass`, which call the kernels.

Why are results the same for any number of threads? A random number is a function of seed, call
and position. The order of every sum depends on the batch alone. A thread that subtracts gradients
from the weights does so for some columns of all rows, in the order of the rows. An update that
lets threads race ("hogwild") would take 0.73 to 0.85 of the time on two threads, which is 2 to 3 %
of a step, and gains nothing on one.

Why does a small call use one thread? Below a million multiplications, waking a second thread
costs more than it gives. Above that it depends on the machine. A step of 1,024 examples and 64
candidates took 0.09 ms with two threads and 0.15 with one on cores that share a cache; on cores of
two chips, 0.18 and 0.15. So a layer tries the other way for a few steps now and then, and keeps the
faster one (`autotune`).
"""
