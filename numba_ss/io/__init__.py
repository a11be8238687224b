"""Files of text, tables, vectors and checkpoints, with any compression and encoding.

This room knows nothing of training and losses. A newcomer opens `files`: it opens every output, so
that a file is written whole or not at all. `copies` makes local copies of inputs that are on other
machines or can be read only once. A new format of vectors gets a file of its own; `vector_files`
names it in `Format`, `WRITERS` and `READERS`.
"""
