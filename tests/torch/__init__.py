"""Tests of the room for PyTorch; they need it, and skip without."""
