"""What all bodies are: attrs classes whose annotations declare both their JSON and its reading and writing.

A class that inherits `Body` declares each field once, as an attribute with an annotation and a default, and
is made by `body` (by `attrs.define` where `attrs.evolve` copies it: checkers allow that for no other). The
name on the wire is the attribute's in camel case, unless `Annotated[str, Wire("clientID")]` says otherwise.
Annotations may be `bool`, `Int` (32 bits), `Long` and `int` (64 bits), `float`, `str`, enums, other bodies,
`list[...]`, `tuple[..., ...]` for a Java array, `dict[key, ...]` with keys of type `str`, `int` or a frozen
body, and each of these `| None`.

Reading is as tolerant as fastjson (`spec/bodies.yaml` fastjson_rules): unknown fields are ignored, missing
ones and nulls keep their default, numbers and booleans may be texts, enums may be ordinals, keys may be
quoted. Everything else is a `BodyError` with the path of the field. Writing follows fastjson too: fields by
name, None left out.
"""

from __future__ import annotations

import enum
import functools
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeVar

import attrs

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol import fastjson
from rocketmq_tx.protocol.fastjson import ObjectKey
from rocketmq_tx.protocol.late_init import Argument, dataclass_transform, late_init


class Bits(NamedTuple):
    """The size of a signed number, as an annotation."""

    bits: int


class Wire(NamedTuple):
    """A field's name on the wire where it does not follow from the attribute's, as an annotation."""

    name: str


Int = Annotated[int, Bits(32)]
Long = Annotated[int, Bits(64)]

CLIENT_MAX_VALUES: Final = 200_000
"""`Body.max_values` of requests that come from clients: some twenty thousand subscriptions."""

_B = TypeVar("_B", bound="Body")


class Body:
    """A request or response body, a part of one, or a configuration file."""

    __slots__ = ()
    max_values: ClassVar[int] = fastjson.MAX_VALUES
    """How large a document may be; less for what any client may send, since reading it stops all others."""

    @classmethod
    def from_bytes(cls: type[_B], data: bytes | str) -> _B:
        """The value of a document; BodyError names the body, the field and what is wrong."""
        try:
            return cls.from_json(fastjson.loads(data, cls.max_values))
        except BodyError as error:
            raise BodyError(f"{cls.__name__}: {error}") from error

    @classmethod
    def from_json(cls: type[_B], value: object) -> _B:
        """The value of an object that was read already; BodyError without the body's name."""
        if not isinstance(value, dict):
            raise _Unreadable(f"an object expected, not {_shown(value)}")
        found: dict[str, Any] = {}
        for field in _fields(cls):
            given = value.get(field.wire_name)
            if given is not None:
                try:
                    found[field.attribute] = field.codec.read(given)
                except _Unreadable as problem:
                    raise problem.within(field.wire_name) from None
        return cls(**found)

    def to_json(self) -> dict[Any, Any]:
        """What `fastjson.dumps` takes: fields by their wire names, in Apache's order."""
        return {
            field.wire_name: field.codec.write(getattr(self, field.attribute))
            for field in _fields(type(self))
        }

    def to_bytes(self, *, quoted_keys: bool = False, pretty: bool = False) -> bytes:
        """The document as Apache writes it; see `fastjson.dumps` for the two other forms."""
        return fastjson.dumps(self.to_json(), quoted_keys=quoted_keys, pretty=pretty)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _names(type(self)))

    __hash__ = None  # type: ignore[assignment]  # they may be changed

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in _names(type(self)))
        return f"{type(self).__name__}({values})"


@dataclass_transform(field_specifiers=(attrs.field,))
def body(cls: type[_B]) -> type[_B]:
    """Makes a declaration an attrs class whose `__init__` is compiled when it is first needed."""
    made = attrs.define(init=False, repr=False, eq=False)(cls)
    made.__init__ = late_init(_arguments, keywords_only=False)  # type: ignore[method-assign]
    return made


def _arguments(cls: type[attrs.AttrsInstance]) -> list[Argument]:
    return [Argument(field.name, field.default) for field in attrs.fields(cls)]


def _names(cls: type[Body]) -> list[str]:
    return [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]


# -- reading and writing by annotation ---------------------------------------------------------------------


class _Unreadable(BodyError):
    """A value that its field cannot take; collects the path on its way up."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self._problem = problem
        self._path = path

    def within(self, step: str) -> _Unreadable:
        separator = "." if self._path and not self._path.startswith("[") else ""
        return _Unreadable(self._problem, f"{step}{separator}{self._path}")


class _Codec(NamedTuple):
    """How values of one annotation are read (they are never None) and written."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


class _Field(NamedTuple):
    attribute: str
    wire_name: str
    codec: _Codec


_FIELDS: dict[type[Body], tuple[_Field, ...]] = {}
"""What was found out about each body so far."""


def _fields(cls: type[Body]) -> tuple[_Field, ...]:
    """The fields of a body by wire name, which is the order that fastjson writes."""
    known = _FIELDS.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        declared = (_declared(name, hints[name]) for name in attrs.fields_dict(cls))  # type: ignore[arg-type]
        known = _FIELDS[cls] = tuple(sorted(declared, key=lambda field: field.wire_name))
    return known


def _declared(attribute: str, hint: Any) -> _Field:
    notes = getattr(hint, "__metadata__", ())
    wire_name = next((note.name for note in notes if isinstance(note, Wire)), _camel(attribute))
    return _Field(attribute, wire_name, _codec(hint))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _codec(hint: Any) -> _Codec:
    """The codec of an annotation; TypeError for one that no field can have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bits = [note.bits for note in arguments[1:] if isinstance(note, Bits)]
        codec = _Codec(functools.partial(_read_int, bits[0]), _same) if bits else _codec(arguments[0])
    elif origin is types.UnionType:
        wanted = _codec(next(argument for argument in arguments if argument is not types.NoneType))
        codec = _Codec(wanted.read, lambda value: None if value is None else wanted.write(value))
    elif origin in (list, tuple):
        codec = _items_codec(origin, _codec(arguments[0]))
    elif origin is dict:
        codec = _dict_codec(_key_codec(arguments[0]), _codec(arguments[1]))
    elif hint in _PLAIN:
        codec = _Codec(_PLAIN[hint], _same)
    elif issubclass(hint, enum.Enum):
        codec = _Codec(functools.partial(_read_enum, hint), lambda value: value.name)
    elif issubclass(hint, Body):
        codec = _Codec(hint.from_json, lambda value: value.to_json())
    else:
        raise TypeError(f"no body field can be annotated {hint!r}")
    return codec


def _same(value: Any) -> Any:
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_int(bits: int, value: object) -> int:
    if isinstance(value, str):
        try:
            value = int(value) if len(value) <= 20 else value
        except ValueError:
            pass
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unreadable(f"a whole number expected, not {_shown(value)}")
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise _Unreadable(f"{value} does not fit {bits} bits")
    return value


def _read_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Unreadable(f"a number expected, not {_shown(value)}")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise _Unreadable(f"a number expected, not {_shown(value)}") from None


def _read_bool(value: object) -> bool:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if value in (0, 1):  # True and False are among them
        return bool(value)
    raise _Unreadable(f"true or false expected, not {_shown(value)}")


def _read_str(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise _Unreadable(f"a text expected, not {_shown(value)}")


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: functools.partial(_read_int, 64),
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
}


def _read_enum(kind: type[enum.Enum], value: object) -> enum.Enum | None:
    """A constant by name or ordinal; a name that this version does not know is None, as in Apache."""
    if isinstance(value, str):
        return kind.__members__.get(value)
    members = list(kind)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(members):
        return members[value]
    raise _Unreadable(f"a name of {kind.__name__} expected, not {_shown(value)}")


def _items_codec(kind: Callable[..., Any], item: _Codec) -> _Codec:
    def read(value: object) -> Any:
        if not isinstance(value, list):
            raise _Unreadable(f"an array expected, not {_shown(value)}")
        found = []
        for index, element in enumerate(value):
            if element is None:
                raise _Unreadable("null in an array", f"[{index}]")
            try:
                found.append(item.read(element))
            except _Unreadable as problem:
                raise problem.within(f"[{index}]") from None
        return kind(found)

    return _Codec(read, lambda value: kind(item.write(element) for element in value))


def _dict_codec(key: _Codec, item: _Codec) -> _Codec:
    def read(value: object) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise _Unreadable(f"an object expected, not {_shown(value)}")
        found = {}
        for name, element in value.items():
            if element is not None:
                try:
                    found[key.read(name)] = item.read(element)
                except _Unreadable as problem:
                    raise problem.within(f"[{_shown(name)}]") from None
        return found

    return _Codec(
        read, lambda value: {key.write(name): item.write(element) for name, element in value.items()}
    )


def _key_codec(hint: Any) -> _Codec:
    if isinstance(hint, type) and issubclass(hint, Body):
        body = hint

        def read(key: object) -> Body:
            if isinstance(key, str):  # the object's text, quoted: how strict writers put it
                try:
                    key = fastjson.loads(key)
                except BodyError as error:
                    raise _Unreadable(str(error)) from error
            return body.from_json(key.as_dict() if isinstance(key, ObjectKey) else key)

        return _Codec(read, lambda key: ObjectKey(tuple(key.to_json().items())))
    return _codec(hint)
