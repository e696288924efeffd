"""Numbers as one lane of a vector unit has them.

Arrays hold float32, or bfloat16 as its 16 bits; every loop computes in float32. What handles bits is spelt out for the
compiler, 32 bits wide: numba's own integers grow to 64, of which a vector unit holds half as many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

F = cast("Callable[[float], float]", np.float32)
WHOLE = cast("Callable[[float], int]", np.int32)
BITS = cast("Callable[[Any], int]", np.uint32)

DRAWS = 1 << 31
"""How many random numbers there are that decide whether an element is dropped."""


def drops(p: float) -> int:
    """Of `DRAWS`, those that drop an element: as near to p as there is, but neither none nor all."""
    return min(max(round(p * DRAWS), 1), DRAWS - 1)


def lane(code: Callable[..., Any]) -> Callable[..., Any]:
    """What writes the instructions of an operation: called with the types of its arguments, it names its own and writes."""
    return cast("Callable[..., Any]", intrinsic(code))


class _Bits:
    """What writes instructions on 32 bits."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._context, self._write = context, builder

    def number(self, value: int) -> Any:
        return self._context.get_constant(types.uint32, value)

    def of(self, value: Any) -> Any:
        """The bits of a float32."""
        return self._write.bitcast(value, self._context.get_value_type(types.uint32))

    def float_of(self, bits: Any) -> Any:
        """The float32 that some bits are."""
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
        bits = _Bits(context, write)
        return bits.float_of(write.shl(bits.from_half(args[0]), bits.number(16)))

    return types.float32(stored), code


@lane
def rounded(_typing: Any, _value: Any, like: Any) -> Any:
    """A float32 as an array with elements like this one stores it: to the nearest, ties to even.

    Rounding would carry out of the payload of some NaNs; those that arithmetic makes have one bit set.
    """

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        bits = _Bits(context, write)
        x, half = bits.of(args[0]), bits.number(16)
        odd = write.and_(write.lshr(x, half), bits.number(1))
        return bits.low_half(write.lshr(write.add(write.add(x, bits.number(0x7FFF)), odd), half))

    return like(types.float32, like), code


@lane
def in_order(_typing: Any, _value: Any) -> Any:
    """An integer that is larger for a larger float32, and largest for NaN: a maximum that sees NaN, as vectors take it."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        x = bits.of(args[0])
        return write.xor(x, write.lshr(write.ashr(x, bits.number(31)), bits.number(1)))

    return types.int32(types.float32), code


@lane
def from_order(_typing: Any, _place: Any) -> Any:
    """The float32 whose `in_order` this is."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.xor(args[0], write.lshr(write.ashr(args[0], bits.number(31)), bits.number(1))))

    return types.float32(types.int32), code


@lane
def scaled(_typing: Any, _value: Any, _exponent: Any) -> Any:
    """value * 2^exponent, for results that are normal numbers."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.add(bits.of(args[0]), write.shl(args[1], bits.number(23))))

    return types.float32(types.float32, types.int32), code


@njit(inline="always")
def exponential(x: float) -> float:
    """exp(x) for x <= 0, to 2e-7 of itself; below -87 it is exp(-87). NaN stays NaN."""
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


@njit(inline="always")
def row_key(seed: int, row: int) -> int:
    """The 32-bit key of a row's random numbers: the finaliser of splitmix64 on seed and row."""
    x = np.uint64(seed) + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return BITS(x >> np.uint64(32))


@lane
def dropped(_typing: Any, _key: Any, _column: Any, _threshold: Any) -> Any:
    """All bits set with a probability of threshold / DRAWS, else none: a hash of a row's key and the column."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        key, column, threshold = args
        x = write.xor(key, write.mul(bits.from_index(column), bits.number(0x9E3779B1)))
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = write.mul(write.xor(x, write.lshr(x, bits.number(shift))), bits.number(factor))
        x = write.xor(x, write.lshr(x, bits.number(16)))
        return write.ashr(write.sub(write.lshr(x, bits.number(1)), threshold), bits.number(31))

    return types.uint32(types.uint32, types.int64, types.uint32), code


@lane
def unless(_typing: Any, _value: Any, _gone: Any) -> Any:
    """The value, or 0 where it is dropped."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.and_(bits.of(args[0]), write.not_(args[1])))

    return types.float32(types.float32, types.uint32), code


@lane
def signed(_typing: Any, _value: Any, _gone: Any) -> Any:
    """The value, with its sign turned where it is dropped."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.xor(bits.of(args[0]), write.shl(args[1], bits.number(31))))

    return types.float32(types.float32, types.uint32), code
