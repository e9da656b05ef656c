"""What all bodies are: classes whose annotations declare both their JSON and its reading and writing.

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
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeVar

import attrs

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol import fastjson
from rocketmq_tx.protocol.bodies.codecs import (
    PLAIN,
    Codec,
    Unreadable,
    as_it_is,
    dict_codec,
    items_codec,
    read_enum,
    read_int,
    shown,
)
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
    DECLARED: ClassVar[tuple[Argument, ...]] = ()
    """What `body` has found; see `declared`."""
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
            raise Unreadable(f"an object expected, not {shown(value)}")
        found: dict[str, Any] = {}
        for field in _fields(cls):
            given = value.get(field.wire_name)
            if given is not None:
                try:
                    found[field.attribute] = field.codec.read(given)
                except Unreadable as problem:
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
        return all(getattr(self, name) == getattr(other, name) for name, _ in declared(type(self)))

    __hash__ = None  # type: ignore[assignment]  # they may be changed

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name, _ in declared(type(self)))
        return f"{type(self).__name__}({values})"


@dataclass_transform(field_specifiers=(attrs.field,))
def body(cls: type[_B]) -> type[_B]:
    """Makes a declaration a class: slots, and an `__init__` that is compiled when it is first needed.

    Not by attrs, which would compile methods for each of some sixty classes here: see `late_init`.
    """
    namespace = dict(vars(cls))
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name)
    names = namespace.get("__annotations__", ())
    own = tuple(Argument(name, namespace.pop(name, attrs.NOTHING)) for name in names)
    namespace |= {"DECLARED": own, "__slots__": tuple(names), "__qualname__": cls.__qualname__}
    namespace["__init__"] = late_init(declared, keywords_only=False)
    made: type[_B] = type(cls.__name__, cls.__bases__, namespace)
    return made


def declared(cls: type[Body]) -> Sequence[Argument]:
    """The attributes of a body, in order."""
    if attrs.has(cls):
        return [Argument(field.name, field.default) for field in attrs.fields(cls)]
    return cls.DECLARED


# -- reading and writing by annotation ---------------------------------------------------------------------


class _Field(NamedTuple):
    attribute: str
    wire_name: str
    codec: Codec


_FIELDS: dict[type[Body], tuple[_Field, ...]] = {}
"""What was found out about each body so far."""


def _fields(cls: type[Body]) -> tuple[_Field, ...]:
    """The fields of a body by wire name, which is the order that fastjson writes."""
    known = _FIELDS.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        fields = (_field(name, hints[name]) for name, _ in declared(cls))
        known = _FIELDS[cls] = tuple(sorted(fields, key=lambda field: field.wire_name))
    return known


def _field(attribute: str, hint: Any) -> _Field:
    notes = getattr(hint, "__metadata__", ())
    wire_name = next((note.name for note in notes if isinstance(note, Wire)), _camel(attribute))
    return _Field(attribute, wire_name, _codec(hint))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _codec(hint: Any) -> Codec:
    """The codec of an annotation; TypeError for one that no field can have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bits = [note.bits for note in arguments[1:] if isinstance(note, Bits)]
        codec = Codec(functools.partial(read_int, bits[0]), as_it_is) if bits else _codec(arguments[0])
    elif origin is types.UnionType:
        wanted = _codec(next(argument for argument in arguments if argument is not types.NoneType))
        codec = Codec(wanted.read, lambda value: None if value is None else wanted.write(value))
    elif origin in (list, tuple):
        codec = items_codec(origin, _codec(arguments[0]))
    elif origin is dict:
        codec = dict_codec(_key_codec(arguments[0]), _codec(arguments[1]))
    elif hint in PLAIN:
        codec = Codec(PLAIN[hint], as_it_is)
    elif issubclass(hint, enum.Enum):
        codec = Codec(functools.partial(read_enum, hint), lambda value: value.name)
    elif issubclass(hint, Body):
        codec = Codec(hint.from_json, lambda value: value.to_json())
    else:
        raise TypeError(f"no body field can be annotated {hint!r}")
    return codec


def _key_codec(hint: Any) -> Codec:
    if isinstance(hint, type) and issubclass(hint, Body):
        body = hint

        def read(key: object) -> Body:
            if isinstance(key, str):  # the object's text, quoted: how strict writers put it
                try:
                    key = fastjson.loads(key)
                except BodyError as error:
                    raise Unreadable(str(error)) from error
            return body.from_json(key.as_dict() if isinstance(key, ObjectKey) else key)

        return Codec(read, lambda key: ObjectKey(tuple(key.to_json().items())))
    return _codec(hint)
