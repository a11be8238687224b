"""The command line: ``numba-ss word2vec``, ``retrieve``, and commands that use their files.

This is the top room: it may use all others. A newcomer opens `main`, which parses the arguments.
`word2vec_commands` and `retrieve_commands` do the work; they are imported when a command runs, so
``--help`` answers without importing numpy and numba.
"""
