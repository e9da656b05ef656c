"""Batches as clients send them, and as they should not, for tests that hold two ways of serving together."""

from __future__ import annotations

from hypothesis import strategies as st

from rocketmq_tx.protocol.batch import BatchItem, encode_batch

KEY = "7F0000010AD718B4AAC2{:012X}"
BEFORE = st.sampled_from(["", "a\1b\2", "KEYS\1k1 k2\2", "TAGS\1TagB\2é\1ü\2", "UNIQ_KEY\1X\2", "\2", "x"])
AFTER = st.sampled_from(
    [
        "\2WAIT\1true\2TAGS\1TagA",
        "\2TAGS\1TagA",
        "",
        "\2",
        "\2KEYS\1k",
        "\2INNER_MULTI_DISPATCH\1%LMQ%one,%LMQ%two",
        "\2INNER_MULTI_QUEUE_OFFSET\0017",
        "\2TIMER_DELAY_SEC\1005",
        "\2UNIQ_KEY\1last",
        "\2n\1\0",
    ]
)


@st.composite
def alike(draw: st.DrawFn) -> list[BatchItem]:
    """Members that differ in body and unique key only, bodies of one length or not."""
    count, first = draw(st.integers(1, 8)), draw(st.integers(0, 1 << 40))
    length = draw(st.integers(0, 40))
    lengths = draw(
        st.one_of(st.just([length] * count), st.lists(st.integers(0, 40), min_size=count, max_size=count))
    )
    before, after, flag = draw(BEFORE), draw(AFTER), draw(st.sampled_from([0, 7, -1]))
    keys = draw(
        st.one_of(
            st.just([KEY.format(first + number) for number in range(count)]),
            st.just([KEY.format(first)] * count),
            st.lists(st.sampled_from(["k1", "K2", "-x", "é", ""]), min_size=count, max_size=count),
        )
    )
    return [
        BatchItem(flag, bytes([number]) * size, f"{before}UNIQ_KEY\1{key}{after}".encode())
        for number, (size, key) in enumerate(zip(lengths, keys, strict=True))
    ]


ANY_ITEM = st.builds(
    BatchItem,
    st.integers(-1, 1),
    st.binary(max_size=20),
    st.sampled_from(
        [b"", b"UNIQ_KEY\1k1", b"UNIQ_KEY\1k1\2TAGS\1T", b"a\1b", b"KEYS\1k\2UNIQ_KEY\1k2", b"\xff\1\xfe"]
    ),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies of batch sends: nearly all of them alike, some spoiled."""
    data = draw(
        st.one_of(
            alike().map(encode_batch),
            alike().map(encode_batch),
            st.tuples(alike(), alike()).map(lambda both: encode_batch([*both[0], *both[1]])),
            st.tuples(alike(), ANY_ITEM, alike()).map(lambda all: encode_batch([*all[0], all[1], *all[2]])),
            st.lists(ANY_ITEM, max_size=4).map(encode_batch),
            st.binary(max_size=60),
        )
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        spoil = draw(
            st.sampled_from([b"", b"\0", b"\1", b"\xff", b"\0\0\0\1", b"more bytes than there were"])
        )
        data = data[:place] + spoil + data[place + draw(st.integers(0, 4)) :]
    return data
