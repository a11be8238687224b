"""Items for users: a tower over histories, trained by sampled softmax on an event log.

This room uses `distributed`, `training`, `logs`, `engine`, `io` and `kernels`, and knows nothing
of `word2vec`. A newcomer opens `estimator` (what a user calls) and `queries` (what a fitted model
answers), then `start` (where a run begins), `run` (its epochs) and `model` (a training step).
`cluster` and `blocks` are for training on many machines.
"""
