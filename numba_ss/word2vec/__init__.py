"""Word vectors from text: corpora, vocabularies, the trainer, and what vectors are good for.

Stands on `training`, `engine`, `io` and `kernels.words`; knows nothing of `retrieval`. A newcomer
opens `estimator` (what a user calls), then `start` (where a run begins), `run` (passes over the
text), `noise` (random draws, from counts alone) and `model` (the tables and a training step).

Which of the defaults matter? More epochs help analogies, more noise words help similarity; six
noise words and five epochs are the compromise (``benchmarks/README.md`` has the figures). Scores
have no log-Q correction by default: they are then relative to the words' frequency, and need no
biases.
"""
