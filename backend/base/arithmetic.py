"""Formulas that people type, computed without running code: numbers, names, operators and a few functions."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from backend.base.errors import BadInput

LONGEST = 2000  # characters of a formula
_BITS = 2048  # of a whole number
_DEEPEST = 60

Number = int | float | bool

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Invert: operator.invert
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": round, "int": int, "float": float, "bool": bool,
    "ceil": math.ceil, "floor": math.floor, "trunc": math.trunc, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2,
    "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan,
    "atan2": math.atan2, "hypot": math.hypot, "degrees": math.degrees, "radians": math.radians, "gcd": math.gcd, "lcm": math.lcm,
    "fmod": math.fmod, "clamp": lambda x, low, high: min(max(x, low), high), "sign": lambda x: (x > 0) - (x < 0),
    "sum": lambda *a: sum(a), "pow": lambda a, b: _power(a, b),  # noqa: PLW0108 - it is defined below
}  # fmt: skip
CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}


def evaluate(formula: str, values: Mapping[str, Number]) -> Number:
    """The number a formula such as "floor(a * b) + 1" gives. Names are `values`, then pi, e, tau. Raises BadInput, saying what is wrong."""
    if len(formula) > LONGEST:
        raise BadInput(f"The formula is {len(formula)} characters long; at most {LONGEST} are read.")
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadInput(
            f"The formula {formula!r:.80} cannot be read: {getattr(error, 'msg', error)}.", hint="Write it like (a + b) * 2."
        ) from None
    try:
        return _number(_value(tree.body, values, 0))
    except (ArithmeticError, ValueError, TypeError) as error:
        given = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise BadInput(f"The formula {formula!r:.80} has no value for {given or 'no inputs'}: {error}.") from None


def _number(value: Any) -> Number:
    if not isinstance(value, int | float):
        raise TypeError("it does not give a number")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise OverflowError("a number becomes too large")
    return value


def _value(part: ast.expr, values: Mapping[str, Number], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")

    def of(inner: ast.expr) -> Any:
        return _number(_value(inner, values, depth + 1))

    match part:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.Name(id=name):
            raise BadInput(f"The formula uses {name!r}, which is no input of this node.", hint="Connect it, or use a name that is there.")
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(of(left), of(right))
        case ast.BinOp(left=left, op=ast.LShift() | ast.RShift() as op, right=right):
            by = of(right)
            if not 0 <= by <= _BITS:
                raise ValueError(f"a number cannot be shifted by {by}")
            return of(left) << by if isinstance(op, ast.LShift) else of(left) >> by
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](of(left), of(right))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](of(operand))
        case ast.BoolOp(op=op, values=parts):
            return _both(isinstance(op, ast.And), parts, of)
        case ast.IfExp(test=test, body=body, orelse=other):
            return of(body) if of(test) else of(other)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
            sides = [of(left), *(of(other) for other in others)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:]))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(of(arg) for arg in args))
        case ast.Call(func=ast.Name(id=name)):
            known = ", ".join(sorted(FUNCTIONS))
            raise BadInput(f"The formula calls {name!r}, which is no function here.", hint=f"There are {known}.")
    raise BadInput("The formula holds something besides numbers, names, operators and functions.", hint="Write it like (a + b) * 2.")


def _both(every: bool, parts: list[ast.expr], of: Callable[[ast.expr], Any]) -> Any:
    """`and` (every) or `or`: the first part that decides, else the last."""
    found: Any = every
    for part in parts:
        found = of(part)
        if bool(found) != every:
            break
    return found


def _power(base: Any, exponent: Any) -> Any:
    """base ** exponent, refused before it gets large."""
    if abs(base) > 1 and exponent > 0 and math.log2(abs(base)) * exponent > _BITS:
        raise OverflowError("a number becomes too large")
    found = base**exponent
    if isinstance(found, complex):
        raise ValueError("a root of a negative number is no number here")
    return found
