"""Event logs: who took what, and when; read from many kinds of tables, with keys of any kind.

This room uses `io` alone. A newcomer opens `interactions`: what a log is and how it is read. A new
source of events goes into `sources`.
"""
