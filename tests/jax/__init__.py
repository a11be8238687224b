"""Tests of the room for JAX; they need it, and skip without."""
