"""Event logs: who took what, and when; from tables of any kind, with keys of any kind.

Stands on `io` alone. A newcomer opens `interactions`: what a log is and how it is read.
"""
