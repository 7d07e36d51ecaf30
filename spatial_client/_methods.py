"""Definitions as methods: with their names, docstrings and whole signatures, for people, tools and `help()`."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_type_hints

F = TypeVar("F", bound=Callable[..., Any])
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def answer_of(call: Callable[..., Any]) -> Any:
    """What a call is parsed to: `Page` for a function that returns `Unary[Page]`."""
    return get_args(inspect.signature(call).return_annotation)[0]


def described(method: F, call: Callable[..., Any], returns: Any, **leading: Any) -> F:
    """`method` as people shall see it: as `call`, after self and these parameters, and with another answer."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    first = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, annotation=each) for name, each in leading.items()
    ]
    own = [each for parameter in inspect.signature(call).parameters.values() for each in _named(parameter)]
    before = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY if first else kind), *first]
    described: Any = method
    described.__name__ = call.__name__
    described.__doc__ = call.__doc__
    described.__signature__ = inspect.Signature([*before, *own], return_annotation=returns)
    return method


def _named(parameter: inspect.Parameter) -> Iterable[inspect.Parameter]:
    """The keywords that a parameter of the form `**name: Unpack[A TypedDict]` stands for, each None unless given."""
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
        return [parameter]
    (options,) = get_args(parameter.annotation)
    hints = get_type_hints(options)
    return [parameter.replace(name=name, kind=_KEYWORD, annotation=hint, default=None) for name, hint in hints.items()]
