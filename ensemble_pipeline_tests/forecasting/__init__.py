"""Tests of the numeric room: constants by hand, other libraries as oracles, laws that hold for any input."""
