"""Numbers as one lane of a vector unit has them: float32, read from arrays of float32 or of bfloat16's 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

F = cast("Callable[[float], float]", np.float32)
WHOLE = cast("Callable[[float], int]", np.int32)
BITS = cast("Callable[[Any], int]", np.uint32)
"""Makes an unsigned integer of 32 bits: numba's own grow to 64, of which a vector unit holds half as many."""

FAST = {"reassoc", "contract", "nsz"}
"""What the compiler may do to sums: take them in another order, always the same. NaN and infinity stay what they are."""


def lane(code: Callable[..., Any]) -> Callable[..., Any]:
    """Makes numba's intrinsic of a function that takes types of arguments and returns a signature and a writer of code."""
    return cast("Callable[..., Any]", intrinsic(code))


class Bits:
    """Writes instructions on values of 32 bits."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._context, self._write = context, builder

    def number(self, value: int) -> Any:
        return self._context.get_constant(types.uint32, value)

    def of(self, value: Any) -> Any:
        """The bits of a float32."""
        return self._write.bitcast(value, self._context.get_value_type(types.uint32))

    def float_of(self, bits: Any) -> Any:
        """The float32 that has these bits."""
        return self._write.bitcast(bits, self._context.get_value_type(types.float32))

    def low_half(self, bits: Any) -> Any:
        return self._write.trunc(bits, self._context.get_value_type(types.uint16))

    def from_half(self, half: Any) -> Any:
        return self._write.zext(half, self._context.get_value_type(types.uint32))

    def from_index(self, index: Any) -> Any:
        return self._write.trunc(index, self._context.get_value_type(types.uint32))


@lane
def read(_typing: Any, stored: Any) -> Any:
    """An element of an array as float32."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        if stored == types.float32:
            return args[0]
        bits = Bits(context, write)
        return bits.float_of(write.shl(bits.from_half(args[0]), bits.number(16)))

    return types.float32(stored), code


@lane
def rounded(_typing: Any, _value: Any, like: Any) -> Any:
    """A float32 rounded to what an array with elements like `like` stores: to the nearest, ties to even.

    Rounding would turn some NaNs into other numbers, but not those that arithmetic makes: their payload has one bit set.
    """

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        bits = Bits(context, write)
        x, half = bits.of(args[0]), bits.number(16)
        odd = write.and_(write.lshr(x, half), bits.number(1))
        return bits.low_half(write.lshr(write.add(write.add(x, bits.number(0x7FFF)), odd), half))

    return like(types.float32, like), code


@lane
def in_order(_typing: Any, _value: Any) -> Any:
    """An integer that is larger for a larger float32, so that a vector unit can take maxima; NaN lies at either end."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = Bits(context, write)
        x = bits.of(args[0])
        return write.xor(x, write.lshr(write.ashr(x, bits.number(31)), bits.number(1)))

    return types.int32(types.float32), code


@lane
def from_order(_typing: Any, _place: Any) -> Any:
    """The float32 whose `in_order` this is."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = Bits(context, write)
        return bits.float_of(write.xor(args[0], write.lshr(write.ashr(args[0], bits.number(31)), bits.number(1))))

    return types.float32(types.int32), code


@lane
def scaled(_typing: Any, _value: Any, _exponent: Any) -> Any:
    """value * 2^exponent, for results that are normal numbers."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = Bits(context, write)
        return bits.float_of(write.add(bits.of(args[0]), write.shl(args[1], bits.number(23))))

    return types.float32(types.float32, types.int32), code


@njit(inline="always")
def exponential(x: float) -> float:
    """exp(x) for x <= 0, to 2e-7 of itself near 0 and 4e-6 at -87, below which it is exp(-87). NaN stays NaN."""
    x = F((x if x > F(-87.0) or x != x else F(-87.0)) * F(1.44269504))
    whole = WHOLE(x - F(0.5))
    part = F(x - F(whole))
    power = F(1.5403530e-4)
    power = F(power * part + F(1.3333558e-3))
    power = F(power * part + F(9.6181291e-3))
    power = F(power * part + F(5.5504109e-2))
    power = F(power * part + F(2.4022651e-1))
    power = F(power * part + F(6.9314718e-1))
    return scaled(F(power * part + F(1.0)), whole)
