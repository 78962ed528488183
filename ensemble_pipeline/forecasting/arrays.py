"""The array types of this room and the checks at its door.

Belongs here: turning what a caller hands over into an array of known kind, or refusing it by element and value.
Does not: any formula.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_pipeline.errors import InputError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Shape: TypeAlias = tuple[int, ...]


def probabilities(values: ArrayLike, name: str, *, has_gaps: bool = False) -> FloatArray:
    """Return `values` as floats within [0, 1]; NaN passes only where `has_gaps` (it then means "absent").

    Raises:
        InputError: names the first element that is no probability, and its value.
    """
    array = np.asarray(values, dtype=np.float64)
    is_good = (array >= 0) & (array <= 1)
    if has_gaps:
        is_good |= np.isnan(array)
    refuse_where(~is_good, array, name, "is no probability; allowed: 0 to 1")
    return array


def outcomes(values: ArrayLike, shape: Shape, name: str = "outcome") -> FloatArray:
    """Return `values` as floats 0 (NO) or 1 (YES) of exactly `shape`.

    Raises:
        InputError: names the first element that is neither 0 nor 1, or both shapes.
    """
    array = np.asarray(values, dtype=np.float64)
    require_shape(array, shape, name)
    refuse_where((array != 0) & (array != 1), array, name, "is no outcome; allowed: 0 (NO) and 1 (YES)")
    return array


def weights(values: ArrayLike, shape: Shape, name: str = "weight") -> FloatArray:
    """Return `values` as finite floats ≥ 0 of exactly `shape`.

    Raises:
        InputError: names the first element that is negative, infinite or NaN, or both shapes.
    """
    array = np.asarray(values, dtype=np.float64)
    require_shape(array, shape, name)
    refuse_where(~(np.isfinite(array) & (array >= 0)), array, name, "is no weight; allowed: finite and >= 0")
    return array


def panel(p: ArrayLike, weight: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities and weights of the members of one decision, both of shape ``(n_models,)``.

    Raises:
        InputError: an element is out of range, there is no member, or all weights are 0.
    """
    probability = probabilities(p, "p")
    share = weights(weight, probability.shape)
    if probability.ndim != 1 or not np.any(share > 0):
        raise InputError(f"a panel needs one dimension and a weight above 0; got shape {share.shape}, weights {share}")
    return probability, share


def finite(values: ArrayLike, name: str) -> FloatArray:
    """Return `values` as finite floats.

    Raises:
        InputError: names the first element that is infinite or NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    refuse_where(~np.isfinite(array), array, name, "is not finite")
    return array


def integers(values: ArrayLike, name: str, low: int, high: int) -> IntArray:
    """Return `values` as one dimension of int64 within [low, high].

    Raises:
        InputError: `values` has another number of dimensions, holds no integers, or one out of range.
    """
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{name} must be one dimension of integers; got {array.ndim} of {array.dtype}")
    if array.size and (array.min() < low or array.max() > high):
        refuse_where((array < low) | (array > high), array, name, f"is out of range; allowed: {low} to {high}")
    return array.astype(np.int64, copy=False)


def fraction(value: float, name: str, *, is_open: bool = False) -> float:
    """Return a number of [0, 1], or of the open interval where `is_open`.

    Raises:
        InputError: the number lies outside or is NaN.
    """
    is_inside = 0 < value < 1 if is_open else 0 <= value <= 1
    if not is_inside:
        kind = "between 0 and 1, both excluded" if is_open else "0 to 1"
        raise InputError(f"{name} = {value} is out of range; allowed: {kind}")
    return float(value)


def clip_bound(clip: float) -> float:
    """Return a bound that leaves room between itself and its mirror image.

    Raises:
        InputError: the bound is not strictly between 0 and 0.5.
    """
    if not 0 < clip < 0.5:
        raise InputError(f"clip = {clip} is out of range; allowed: between 0 and 0.5, both excluded")
    return float(clip)


def positive(value: float, name: str) -> float:
    """Return a finite number > 0.

    Raises:
        InputError: the number is 0, negative, infinite or NaN.
    """
    if not 0 < value < np.inf:
        raise InputError(f"{name} = {value} is out of range; allowed: finite and > 0")
    return float(value)


def require_shape(array: FloatArray, shape: Shape, name: str) -> None:
    """Refuse an array of another shape than the one it must match.

    Raises:
        InputError: names both shapes.
    """
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}; it must match {shape}")


def refuse_where(is_bad: BoolArray, array: NDArray[np.generic], name: str, rule: str) -> None:
    """Refuse an array that has a bad element.

    Raises:
        InputError: "name[index] = value rule" for the first bad element.
    """
    if is_bad.any():
        first = tuple(int(i) for i in np.argwhere(is_bad)[0])
        place = f"[{', '.join(map(str, first))}]" if first else ""
        raise InputError(f"{name}{place} = {array[first]} {rule}")
