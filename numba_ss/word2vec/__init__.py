"""Word vectors from text: corpora, vocabularies, the trainer, and what vectors are good for.

Stands on `training`, `engine`, `io` and `kernels.words`; knows nothing of `retrieval`. A newcomer
opens `estimator` (what a user calls), then `run` (passes over the text) and `model` (the tables
and one block of learning).
"""
