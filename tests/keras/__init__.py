"""Tests of the room for Keras; they need it and a backend, and skip without."""
