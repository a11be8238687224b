"""The command line: ``numba-ss word2vec``, ``retrieve`` and what goes with their files.

Above everything else, so it may use all rooms. A newcomer opens `main`: what can be asked for.
`word2vec_commands` and `retrieve_commands` do it; they are imported when a command runs, so that
``--help`` answers before numpy and numba are there.
"""
