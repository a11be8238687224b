"""Word vectors from text: corpora, vocabularies, the trainer, and what vectors are good for.

Stands on `training`, `engine`, `io` and `kernels.words`; knows nothing of `retrieval`. A newcomer
opens `estimator` (what a user calls), then `run` (passes over the text) and `model` (the tables
and one block of learning).

Which of the defaults matter? More epochs help analogies, more noise words help similarity; six
noise words and five epochs are the compromise (``benchmarks/README.md`` has the figures). Scores
have no log-Q correction by default: they are then relative to the words' frequency, and need no
biases.
"""
