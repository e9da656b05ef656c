"""How a command header is declared: once, as a class whose fields know their wire key, type and duty.

    @header
    class ViewMessageRequestHeader(Header):
        offset: int = long_integer("offset", needed=True)

Headers travel as the extFields of a frame: every value is text, absent means null (spec/headers.yaml).
Apache's decoder refuses nothing; what a handler then stumbles over becomes a NullPointerException in the
answer. A field marked `needed` is one of those: here its absence is a `HeaderError` that names it. Any other
may be missing, as the recordings show, and then has its default; `required` only repeats what Apache's class
says. Keys that no field declares are left alone. `bname` (the broker's name, which clients add) stands first
where Apache lists fields by reflection: that is where recorded frames have it.

Text that is no number counts as missing, except in the classes for which Apache has a fast codec: there, as
in Apache, it refuses the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import attrs

from rocketmq_tx.errors import HeaderError
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.late_init import Argument, dataclass_transform, late_init

_HeaderT = TypeVar("_HeaderT", bound="Header")


class HeaderField(NamedTuple):
    """One declared field: where it stands in the class and on the wire, and what its text must be."""

    attribute: str
    key: str
    type_name: str  # int, long, bool, string
    read: Callable[[str], Any]
    required: bool  # what Apache's class declares; for documentation, see `needed`
    needed: bool
    missing: Any
    allowed: tuple[object, ...] | None


def string(
    key: str,
    *,
    required: bool = False,
    needed: bool = False,
    default: str | None = None,
    allowed: tuple[str, ...] | None = None,
) -> Any:
    """Text, as it is."""
    return _declared(key, "string", str, required, needed, default, allowed)


def integer(
    key: str,
    *,
    required: bool = False,
    needed: bool = False,
    default: int | None = None,
    allowed: tuple[int, ...] | None = None,
) -> Any:
    """A signed 32-bit number in decimal."""
    return _declared(key, "int", read_int, required, needed, default, allowed)


def long_integer(
    key: str, *, required: bool = False, needed: bool = False, default: int | None = None
) -> Any:
    """A signed 64-bit number in decimal."""
    return _declared(key, "long", read_long, required, needed, default, None)


def boolean(key: str, *, required: bool = False, default: bool | None = False) -> Any:
    """`true` in any case of letters; anything else is false."""
    return _declared(key, "bool", read_bool, required, False, default, None)


def _declared(
    key: str,
    type_name: str,
    read: Callable[[str], Any],
    required: bool,
    needed: bool,
    missing: object,
    allowed: tuple[object, ...] | None,
) -> Any:
    return HeaderField("", key, type_name, read, required or needed, needed, missing, allowed)


@dataclass_transform(kw_only_default=True, field_specifiers=(string, integer, long_integer, boolean))
def header(cls: type[_HeaderT]) -> type[_HeaderT]:
    """Makes a declaration a class: slots, keyword arguments, and `FIELDS` in order of declaration.

    Not by attrs, which would compile methods for each of a hundred classes here: see `late_init`.
    """
    namespace = dict(vars(cls))
    own = {
        name: value._replace(attribute=name)
        for name, value in namespace.items()
        if isinstance(value, HeaderField)
    }
    for name in (*own, "__dict__", "__weakref__"):
        namespace.pop(name, None)
    namespace |= {"__slots__": tuple(own), "__init__": late_init(_arguments, keywords_only=True)}
    made: type[_HeaderT] = type(cls.__name__, cls.__bases__, namespace)
    declared = {field.attribute: field for field in cls.DECLARED} | own
    made.DECLARED = tuple(declared.values())
    if made.KEYS is None:
        made.FIELDS = made.DECLARED
    else:
        made.FIELDS = tuple(declared[name]._replace(key=key) for key, name in made.KEYS.items())
    return made


def _arguments(cls: type[Header]) -> list[Argument]:
    return [
        Argument(field.attribute, attrs.NOTHING if field.needed else field.missing) for field in cls.DECLARED
    ]


class Header:
    """A command header; its subclasses declare fields, this class moves them to and from extFields."""

    __slots__ = ()

    #: Every field as the class and its bases declare it.
    DECLARED: ClassVar[tuple[HeaderField, ...]] = ()

    #: The fields of the wire, in the order in which Apache's class declares them.
    FIELDS: ClassVar[tuple[HeaderField, ...]] = ()

    #: Whether Apache has a codec of its own for the class: it writes fields as declared and reads strictly.
    FAST: ClassVar[bool] = False

    #: Other wire keys for the fields of a base class, as wire key -> attribute.
    KEYS: ClassVar[Mapping[str, str] | None] = None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.attribute for field in self.DECLARED]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]  # they may be changed

    def __repr__(self) -> str:
        names = [field.attribute for field in self.DECLARED]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    @classmethod
    def from_ext_fields(cls: type[_HeaderT], ext_fields: Mapping[str, str] | None) -> _HeaderT:
        """The header that a frame carries. HeaderError names the first field that refuses it."""
        given = ext_fields or {}
        values: dict[str, Any] = {}
        for field in cls.FIELDS:
            attribute, key, _, read, _, needed, missing, allowed = field
            text = given.get(key)
            if text is None:
                if needed:
                    raise HeaderError(cls.__name__, key, "is missing")
                values[attribute] = missing
                continue
            try:
                values[attribute] = read(text)
            except ValueError:
                if needed or cls.FAST:
                    problem = f"{text[:40]!r} is no number of type {field.type_name}"
                    raise HeaderError(cls.__name__, key, problem) from None
                values[attribute] = missing
            if allowed is not None and values[attribute] not in allowed:
                raise HeaderError(cls.__name__, key, f"{text[:40]!r} is none of {allowed}")
        return cls(**values)

    def to_ext_fields(self) -> dict[str, str]:
        """The fields as text, None left out, in the order in which Apache writes them."""
        ext_fields: dict[str, str] = {}
        for field in self.FIELDS:
            value = getattr(self, field.attribute)
            if value is None:
                continue
            if value is True or value is False:
                ext_fields[field.key] = "true" if value else "false"
            else:
                # Python 3.10 writes members of enums by their names.
                ext_fields[field.key] = value if isinstance(value, str) else int.__repr__(value)
        return ext_fields if self.FAST else in_hash_map_order(ext_fields)


# -- texts of the wire, as Java reads them -----------------------------------------------------------------

_MOST_DIGITS = 40  # Java takes any number of leading zeros; nobody sends them


def read_int(text: str) -> int:
    """`Integer.parseInt`; ValueError when the text is no signed 32-bit number."""
    if len(text) < 10 and text.isdecimal():
        return int(text)
    return _number(text, 1 << 31)


def read_long(text: str) -> int:
    """`Long.parseLong`; ValueError when the text is no signed 64-bit number."""
    if len(text) < 19 and text.isdecimal():
        return int(text)
    return _number(text, 1 << 63)


def read_bool(text: str) -> bool:
    """`Boolean.parseBoolean`."""
    return text == "true" or text.lower() == "true"


def _number(text: str, bound: int) -> int:
    # int() alone would also take blanks, underscores and numbers of a million digits.
    digits = text[1:] if text[:1] in {"-", "+"} else text
    if not digits.isdecimal() or len(digits) > _MOST_DIGITS:
        raise ValueError(text[:_MOST_DIGITS])
    number = int(text)
    if not -bound <= number < bound:
        raise ValueError(text)
    return number
