"""Shapes whose `__init__` is compiled late take what attrs' would take, and compare and show as attrs' do."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.bodies.fields import Body, body
from rocketmq_tx.protocol.header_fields import Header, header, integer, string


@body
class Fruit(Body):
    name: str
    kinds: list[str] = attrs.Factory(list)
    price: int = 5


@attrs.define
class AttrsFruit:
    name: str
    kinds: list[str] = attrs.Factory(list)
    price: int = 5


def base_and_derived() -> tuple[type[Header], type[Header]]:
    @header
    class Base(Header):
        topic: str | None = string("topic")
        queue_id: int = integer("queueId", needed=True)

    @header
    class Derived(Base):
        extra: int | None = integer("extra", default=7)

    return Base, Derived


class LateInitTests(SynchronousTestCase):
    def test_arguments_are_taken_as_attrs_takes_them(self) -> None:
        for given, named in (
            (("apple",), {}),
            (("apple", ["red"], 3), {}),
            (("apple",), {"price": 1}),
            ((), {"name": "pear", "kinds": ["green"]}),
        ):
            made, of_attrs = Fruit(*given, **named), AttrsFruit(*given, **named)
            self.assertEqual((made.name, made.kinds, made.price), attrs.astuple(of_attrs))
            self.assertEqual(repr(made), repr(of_attrs).replace("AttrsFruit", "Fruit"))

    def test_a_missing_or_unknown_argument_is_an_error(self) -> None:
        base, _ = base_and_derived()
        for make in (Fruit, lambda: Fruit("a", colour="red"), base, lambda: base(queue_id=1, colour="red")):  # type: ignore[call-arg]
            for _ in ("compiled by the first", "compiled already"):
                self.assertRaises(TypeError, make)
        self.assertRaises(TypeError, lambda: base("topic", queue_id=1))

    def test_what_a_factory_makes_is_shared_by_no_two(self) -> None:
        Fruit("a").kinds.append("red")
        self.assertEqual(Fruit("b").kinds, [])

    def test_equal_are_those_of_one_class_with_equal_values(self) -> None:
        base, derived = base_and_derived()
        self.assertEqual(Fruit("a"), Fruit("a"))
        self.assertNotEqual(Fruit("a"), Fruit("a", price=6))
        self.assertNotEqual(Fruit("a"), AttrsFruit("a"))
        self.assertEqual(base(queue_id=1), base(queue_id=1))
        self.assertNotEqual(base(queue_id=1), base(queue_id=2))
        self.assertNotEqual(base(queue_id=1), derived(queue_id=1))
        for changeable in (Fruit("a"), base(queue_id=1)):
            self.assertRaises(TypeError, hash, changeable)

    def test_a_derived_header_has_its_own_arguments_whichever_class_is_used_first(self) -> None:
        for first in (0, 1):
            classes = base_and_derived()
            classes[first](queue_id=1)
            base, derived = classes
            self.assertEqual(derived(queue_id=1).to_ext_fields(), {"queueId": "1", "extra": "7"})
            self.assertEqual(base(queue_id=1, topic="t").to_ext_fields(), {"queueId": "1", "topic": "t"})

    def test_no_other_attribute_can_be_set(self) -> None:
        base, _ = base_and_derived()
        for shape in (Fruit("a"), base(queue_id=1)):
            self.assertRaises(AttributeError, setattr, shape, "colour", "red")
