"""The layout inside a compressed registration, declared with construct: the documentation and the referee.

Only tests and tools use it; `registration.py` reads and writes the same bytes without the cost of construct.
"""

from __future__ import annotations

from construct import Int32ub, PascalString, PrefixedArray, Struct, Terminated

REGISTRATION = Struct(
    "data_version" / PascalString(Int32ub, "utf8"),  # DataVersion as JSON
    "topics" / PrefixedArray(Int32ub, PascalString(Int32ub, "utf8")),  # TopicConfig's text form
    "filter_servers" / PascalString(Int32ub, "utf8"),  # a JSON array, empty text for none
    Terminated,
)
"""The expanded bytes; on the wire they are one zlib stream."""
