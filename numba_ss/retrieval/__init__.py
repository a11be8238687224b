"""Items for users: a tower over histories, trained by sampled softmax on an event log.

Stands on `training`, `logs`, `engine`, `io` and `kernels.retrieval`; knows nothing of `word2vec`.
A newcomer opens `estimator` (what a user calls) with `queries` (of a fitted model), then `start`
(where a run begins), `run` (its epochs) and `model` (a training step).
"""
