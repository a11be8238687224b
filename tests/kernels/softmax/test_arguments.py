"""arguments.py: what happens to gradients of inputs are three different things."""

from numba_ss.kernels.softmax.arguments import KEPT, SUBTRACTED, TIED, Step


def test_a_step_says_what_happens_to_the_gradients_of_inputs():
    assert len({KEPT, SUBTRACTED, TIED}) == 3
    assert Step(0.1, TIED, 2).inputs == TIED
