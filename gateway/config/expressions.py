"""Expressions (CEL, Common Expression Language) of alarms: compiled, and tried once at the check.

The library is an optional extra, imported only where a site has an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from drivers.wording import shown, suggestion

Evaluate = Callable[[Mapping[str, float]], object]


class ExpressionError(ValueError):
    """An expression cannot be used; one sentence."""


def compile_expression(text: str) -> Evaluate:
    """Compile an expression; variables are doubles. Raises ExpressionError."""
    return _compiled(text)[0]


def check_expression(text: str, variables: Iterable[str]) -> None:
    """Raise ExpressionError unless the expression uses known variables only and gives a bool."""
    names = list(variables)
    evaluate, used = _compiled(text)
    for name in used:
        if name not in names:
            raise ExpressionError(f"unknown variable {shown(name)}; {suggestion(name, names)}")
    for name in names:
        if name not in used:
            raise ExpressionError(f"the variable {shown(name)} is not used in the expression")
    try:
        found = evaluate(dict.fromkeys(names, 1.5))
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition(".")[0]
        raise ExpressionError(f"cannot be evaluated: {reason}; numbers are written 1.0") from error
    if not isinstance(found, bool):
        raise ExpressionError(f"must be true or false, not {shown(found)}")


def _compiled(text: str) -> tuple[Evaluate, list[str]]:
    try:
        import cel
    except ImportError as error:
        raise ExpressionError(
            "this installation has no expressions: install plantgate with the extra expressions"
        ) from error
    try:
        program = cel.compile(text)
    except ValueError as error:
        reason = str(error).splitlines()[0].partition("ERROR: <input>:")[2] or str(error)
        raise ExpressionError(f"is no expression: {reason.split(' expecting ')[0]}") from error

    def evaluate(values: Mapping[str, float]) -> object:
        return program.execute(dict(values))

    return evaluate, list(program.variables())
