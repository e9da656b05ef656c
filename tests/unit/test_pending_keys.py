from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.java import index_key_hash
from rocketmq_tx.store.key_hashes import column_hashes
from rocketmq_tx.store.pending_keys import KeyColumn, MessageKeys, PendingKeys

LATIN = st.characters(min_codepoint=1, max_codepoint=255)
TOPICS = st.sampled_from(["T", "Orders", "ümläut", ""])
BEGINS = st.sampled_from(["7F00000112D718B4AAC20001", "\xff" * 24, "7F00000112D718B4AAC20001"[::-1]])
OF_A_MESSAGE = st.tuples(
    TOPICS,
    st.lists(st.text(min_size=1, max_size=70), min_size=1, max_size=3).map(tuple),
    st.just(0),
    st.just(9),
)


@st.composite
def columns(draw: st.DrawFn) -> KeyColumn:
    size = draw(st.one_of(st.just(32), st.integers(1, 70)))
    keys = draw(st.lists(st.text(LATIN, min_size=size, max_size=size), min_size=1, max_size=5))
    if size == 32 and draw(st.booleans()):  # as of one client, but for one of them now and then
        begin, odd = draw(BEGINS), draw(st.integers(0, 9))
        keys = [key if at == odd else begin + key[-8:] for at, key in enumerate(keys)]
    joined = "".join(keys).encode("latin-1")
    topics = draw(TOPICS | st.lists(TOPICS, min_size=len(keys), max_size=len(keys)))
    return KeyColumn(topics, joined, size, range(0, 100 * len(keys), 100), 7)


def one_by_one(waiting: list[MessageKeys | KeyColumn]) -> list[tuple[str, str, int, int]]:
    """(topic, key, offset, store timestamp) of each key."""
    found = []
    for item in waiting:
        if isinstance(item, KeyColumn):
            text, size = item.keys.decode("latin-1"), item.key_bytes
            keys = [text[at : at + size] for at in range(0, len(text), size)]
            topics = [item.topics] * len(keys) if isinstance(item.topics, str) else item.topics
            parts = zip(topics, keys, item.offsets, strict=True)
            found += [(topic, key, offset, item.store_timestamp) for topic, key, offset in parts]
        else:
            topic, own, offset, timestamp = item
            found += [(topic, key, offset, timestamp) for key in own]
    return found


def pending(waiting: list[MessageKeys | KeyColumn]) -> PendingKeys:
    keys = PendingKeys()
    for item in waiting:
        if isinstance(item, KeyColumn):
            keys.add_column(item)
        else:
            keys.append(item)
    return keys


def hashed(keys: list[tuple[str, str, int, int]]) -> tuple[list[int], list[int], list[int]]:
    return (
        [index_key_hash(f"{topic}#{key}") for topic, key, _, _ in keys],
        [offset for _, _, offset, _ in keys],
        [timestamp for _, _, _, timestamp in keys],
    )


class PendingKeysTests(SynchronousTestCase):
    @given(st.lists(st.one_of(OF_A_MESSAGE, columns()), max_size=6))
    def test_keys_in_columns_count_as_if_each_message_had_brought_its_own(
        self, waiting: list[MessageKeys | KeyColumn]
    ) -> None:
        keys = pending(waiting)
        self.assertEqual(keys.hashed(), hashed(one_by_one(waiting)))
        self.assertEqual(
            keys.in_columns, sum(len(item.offsets) for item in waiting if isinstance(item, KeyColumn))
        )
        keys.clear()
        self.assertEqual((keys.hashed(), keys.in_columns), (([], [], []), 0))

    @given(st.lists(st.one_of(OF_A_MESSAGE, columns()), max_size=6), st.integers(0, 40))
    def test_what_is_entered_waits_no_more_and_the_rest_does(
        self, waiting: list[MessageKeys | KeyColumn], entered: int
    ) -> None:
        keys = pending(waiting)
        wanted = one_by_one(waiting)
        entered = min(entered, len(wanted))
        keys.drop_first(entered)
        self.assertEqual(keys.hashed(), hashed(wanted[entered:]))

    def test_long_columns_are_hashed_like_short_ones(self) -> None:
        keys = [f"7F00000112D718B4AAC2{number:012X}" for number in range(1000)]
        wanted = [index_key_hash(f"T#{key}") for key in keys]
        self.assertEqual(column_hashes("T", "".join(keys).encode(), 32), wanted)

    def test_a_key_that_begins_otherwise_at_any_place_is_hashed_as_it_is(self) -> None:
        keys = [f"7F00000112D718B4AAC2{number:012X}" for number in range(3)]
        for number, place in product(range(3), range(32)):
            others = [*keys]
            others[number] = keys[number][:place] + "x" + keys[number][place + 1 :]
            wanted = [index_key_hash(f"T#{key}") for key in others]
            self.assertEqual(column_hashes("T", "".join(others).encode(), 32), wanted)

    def test_the_one_number_without_an_opposite_becomes_0(self) -> None:
        keys = ["\0" * 20 + f"{number:012d}" for number in range(2000)]
        # 31-adic digits that make the hash of "#" and the key exactly 0x80000000
        remainder = (0x80000000 - (ord("#") * pow(31, 32))) % (1 << 32)
        digits = []
        for _ in range(32):
            digits.append(remainder % 31)
            remainder //= 31
        keys.append("".join(map(chr, reversed(digits))))
        alike = [keys[-1], keys[-1][:24] + "7" * 8]
        for some in (keys, alike):
            wanted = [index_key_hash(f"#{key}") for key in some]
            self.assertIn(0, wanted)
            self.assertEqual(column_hashes("", "".join(some).encode(), 32), wanted)
