"""Files of text, tables, vectors and checkpoints, with any compression and encoding.

Knows nothing of training and losses. A newcomer opens `files`: it opens every output, so that it
is written whole or not at all. `copies` brings inputs here that are elsewhere or can be read only
once. A new format of vectors goes into `vector_files`.
"""
