"""_checks.py: what the other modules' tests of bad input do not reach."""

import numpy as np
import pytest

from numba_ss import ArgumentError, _checks


def test_one_error_type_that_is_a_value_error():
    with pytest.raises(ValueError, match=r"^name: expected this, got that$"):
        _checks.fail("name", "this", "that")


@pytest.mark.parametrize("value", [True, 1.0, "1", None, np.array([1])])
def test_integer_takes_integers_only(value):
    with pytest.raises(ArgumentError, match="n: expected an integer"):
        _checks.integer("n", value, 0)


def test_integer_bounds():
    assert _checks.integer("n", np.int32(3), 0, 3) == 3
    with pytest.raises(ArgumentError, match="n: expected at most 3, got 4"):
        _checks.integer("n", 4, 0, 3)
    with pytest.raises(ArgumentError, match="n: expected at least 0, got -1"):
        _checks.integer("n", -1, 0)


@pytest.mark.parametrize("value", [True, "1", None, np.inf, [1.0], 1j, pytest.param(10**400, id="large")])
def test_number_takes_finite_numbers_only(value):
    with pytest.raises(ArgumentError, match="x: expected a finite number"):
        _checks.number("x", value)


def test_number_converts():
    assert _checks.number("x", np.float32(-0.5)) == -0.5
    with pytest.raises(ArgumentError, match=">= 0"):
        _checks.number("x", -0.5, not_negative=True)


def test_ids_of_every_integer_type():
    for dtype in (np.int8, np.uint16, np.int32, np.uint64, ">i4"):
        got = _checks.ids("ids", np.array([3, 1], dtype))
        assert got.dtype == np.int64
        assert got.tolist() == [3, 1]
    assert _checks.ids("ids", []).dtype == np.int64
    with pytest.raises(ArgumentError, match=r"2\*\*63"):
        _checks.ids("ids", np.array([2**63], np.uint64))


def test_explanation_names_the_first_bad_number():
    array = np.ones((4, 3))
    array[3, 1] = np.nan
    loss = np.array([0, np.nan])
    with pytest.raises(ArgumentError, match=r"nan at w\[3, 1\]"):
        _checks.explain_loss(loss, [("w", array, np.array([0, 3, -1]))])
    with pytest.raises(ArgumentError, match="loss of nan for example 1"):
        _checks.explain_loss(loss, [("w", array, np.array([0, 1]))])


@pytest.mark.parametrize("ids", [None, np.array([9, 0, 7])])
def test_finite_numbers_are_looked_for_in_blocks(ids, monkeypatch):
    monkeypatch.setattr(_checks, "_BLOCK", 6)
    array, biases = np.ones((10, 3), np.float32), np.full(10, -np.inf)
    _checks.finite([("weights", array, ids), ("biases", biases, ids)])
    array[7, 2] = np.inf
    biases[9] = np.nan
    with pytest.raises(ArgumentError, match=r"^w: expected finite numbers, got inf at w\[7, 2\]$"):
        _checks.finite([("w", array, ids)])
    with pytest.raises(ArgumentError, match=r"got nan at biases\[9\]$"):
        _checks.finite([("biases", biases, ids)])


def test_only_lists_of_lists_are_said_to_be_uneven():
    """Other errors of NumPy are not changed."""

    class Odd:
        def __array__(self, *given, **options):
            raise ValueError("no numbers today")

    with pytest.raises(ValueError, match=r"^no numbers today$"):
        _checks.ids("ids", Odd())
    with pytest.raises(ArgumentError, match=r"^ids: expected rows of one length, got rows of different"):
        _checks.ids("ids", [[1], [1, 2]])


def test_a_message_holds_500_letters_of_data_at_most():
    assert _checks.shortened("x" * 500) == "x" * 500
    with pytest.raises(ArgumentError) as error:
        _checks.fail("y" * 10_000, "little", ["z" * 10_000] * 100)
    message = str(error.value)
    assert len(message) < 1000
    assert message.startswith("yyy")
    assert message.endswith("zz']")
    with pytest.raises(ArgumentError) as error:
        _checks.fail("table", f"a column {'c' * 10_000}", "none")
    assert len(str(error.value)) < 600
