"""arguments.py: the parts of a step, and what happens to the gradients of inputs, differ."""

from numba_ss.kernels.softmax.arguments import (
    BACKWARD,
    FORWARD,
    KEPT,
    SUBTRACTED,
    TIED,
    WHOLE,
    Step,
)


def test_a_step_says_what_happens_to_the_gradients_of_inputs():
    assert len({KEPT, SUBTRACTED, TIED}) == 3
    assert len({WHOLE, FORWARD, BACKWARD}) == 3
    assert Step(WHOLE, 0.1, TIED, 2).inputs == TIED
