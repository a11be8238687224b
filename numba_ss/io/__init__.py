"""Files: text, tables, vectors and checkpoints, whatever their compression and encoding.

Knows no training and no loss. `files` is where every output is opened: whole or not at all.
A new format of vectors goes into `vector_files`.
"""
