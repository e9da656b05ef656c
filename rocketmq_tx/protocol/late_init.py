"""`__init__` of classes that are only shapes: compiled when the first instance is made, not with the class.

A process imports some hundred and fifty such classes and makes instances of some dozens; attrs compiles the
methods of each one at once, which took a tenth of a start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[Any], Any]:
        """Tells type checkers only; Python 3.10 has none in `typing`."""
        return lambda decorator: decorator


__all__ = ["Argument", "dataclass_transform", "late_init"]


class Argument(NamedTuple):
    """One attribute, and what it is when it is not given: attrs.NOTHING: it must be; a Factory makes it."""

    name: str
    default: Any


def late_init(arguments: Callable[[Any], Iterable[Argument]], keywords_only: bool) -> Callable[..., None]:
    """An `__init__` that replaces itself in the class by one for the arguments that the class then has."""

    def first_init(self: Any, *given: object, **named: object) -> None:
        cls = type(self)
        compiled = _compiled(list(arguments(cls)), keywords_only)
        cls.__init__ = compiled
        compiled(self, *given, **named)

    return first_init


def _compiled(arguments: list[Argument], keywords_only: bool) -> Callable[..., None]:
    heads, lines = ["self", "*"] if keywords_only and arguments else ["self"], []
    known: dict[str, Any] = {"_not_given": attrs.NOTHING}
    for name, default in arguments:
        value = name
        if default is attrs.NOTHING:
            heads.append(name)
        elif isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            known[f"_{name}"] = default.factory
            heads.append(f"{name}=_not_given")
            value = f"_{name}() if {name} is _not_given else {name}"
        else:
            known[f"_{name}"] = default
            heads.append(f"{name}=_{name}")
        lines.append(f"    self.{name} = {value}")
    made: dict[str, Any] = {}
    exec("\n".join([f"def __init__({', '.join(heads)}):", *(lines or ["    pass"])]), known, made)
    compiled: Callable[..., None] = made["__init__"]
    return compiled
