"""Counts what is put, pulled and sent back, and shows it over the last minute, hour and day (request 315).

Counting is an addition or two for each append and each answered pull. Every ten seconds the counters are
looked at, and a rate is what lies between two looks. Facts: `spec/stats.yaml`, stats_items.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from rocketmq_tx.broker.counters import LOOKS_A_DAY_SAMPLE, LOOKS_AN_HOUR_SAMPLE, Counter, Tally
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import ViewBrokerStatsDataRequestHeader
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.append import NewMessage, Placed

UNCOUNTED_PUTS_MAX = 8192
TOPIC_PUT_NUMS, TOPIC_PUT_SIZE = "TOPIC_PUT_NUMS", "TOPIC_PUT_SIZE"
GROUP_GET_NUMS, GROUP_GET_SIZE = "GROUP_GET_NUMS", "GROUP_GET_SIZE"
GROUP_GET_LATENCY, SNDBCK_PUT_NUMS = "GROUP_GET_LATENCY", "SNDBCK_PUT_NUMS"
BROKER_PUT_NUMS, BROKER_GET_NUMS = "BROKER_PUT_NUMS", "BROKER_GET_NUMS"

_size = itemgetter(1)


class BrokerStatistics:
    """All counters by name and key. With `light` all light topics and groups count as one, as with Apache."""

    def __init__(
        self, cluster: str, now_ms: Callable[[], int], detailed: bool = True, light: bool = False
    ) -> None:
        self.now_ms = now_ms
        self._detailed = detailed
        self._light = light
        self._counters: dict[tuple[str, str], Counter] = {}
        self._puts: dict[str, Tally] = {}
        self._gets: dict[tuple[str, int, str], Tally] = {}
        self._uncounted: dict[int, list[str]] = {}
        self._uncounted_puts = 0
        self._looks = 0
        self._broker_puts = self.counter(BROKER_PUT_NUMS, cluster)
        self._broker_gets = self.counter(BROKER_GET_NUMS, cluster)

    def counter(self, name: str, key: str) -> Counter:
        """The counter, made when it is new."""
        found = self._counters.get((name, key))
        if found is None:
            found = self._counters[name, key] = Counter()
        return found

    # -- counting ------------------------------------------------------------------------------------------

    def put(
        self, messages: Sequence[NewMessage], placed: Sequence[Placed], whole: bool, one_topic: bool
    ) -> None:
        """Messages were appended, all of one topic or not; `whole`: they are one batch, and so one call."""
        if one_topic:
            topic = messages[0][0]
            tally = self._puts.get(topic) or self._new_puts(topic)
            tally.messages += len(messages)
            tally.calls += 1 if whole else len(messages)
            tally.size_bytes += sum(map(_size, placed))
            return
        for message, place in zip(messages, placed, strict=True):
            tally = self._puts.get(message[0]) or self._new_puts(message[0])
            tally.messages += 1
            tally.calls += 1
            tally.size_bytes += place[1]

    def put_alike(self, topic: str, count: int, size_bytes: int) -> None:
        """So many single messages of a topic were appended, with records of `size_bytes` altogether."""
        tally = self._puts.get(topic) or self._new_puts(topic)
        tally.messages += count
        tally.calls += count
        tally.size_bytes += size_bytes

    def put_each(self, topics: Sequence[str], size_bytes: int) -> None:
        """Single messages of these topics were appended, with records of `size_bytes` each.

        They are counted when there are many of them: their topics' tallies lie all over the memory.
        """
        self._uncounted.setdefault(size_bytes, []).extend(topics)
        self._uncounted_puts += len(topics)
        if self._uncounted_puts >= UNCOUNTED_PUTS_MAX:
            self._count_puts()

    def _count_puts(self) -> None:
        uncounted, self._uncounted, self._uncounted_puts = self._uncounted, {}, 0
        for size_bytes, topics in uncounted.items():
            for topic, count in Multiset(topics).items():
                self.put_alike(topic, count, count * size_bytes)

    def put_batch(self, topic: str, count: int, size_bytes: int) -> None:
        """A batch of so many messages was appended, by one call; their records have `size_bytes`."""
        tally = self._puts.get(topic) or self._new_puts(topic)
        tally.messages += count
        tally.calls += 1
        tally.size_bytes += size_bytes

    def _new_puts(self, topic: str) -> Tally:
        key = self._part(topic)
        nums, size = self.counter(TOPIC_PUT_NUMS, key), self.counter(TOPIC_PUT_SIZE, key)
        tally = self._puts[topic] = Tally((nums, self._broker_puts, size))
        return tally

    def got(
        self,
        topic: str,
        queue_id: int,
        group: str,
        count: int,
        size_bytes: int,
        took_ms: int,
        pulls: int = 1,
    ) -> None:
        """Pulls were answered with messages."""
        tally = self._gets.get((topic, queue_id, group)) or self._new_gets(topic, queue_id, group)
        tally.messages += count
        tally.calls += pulls
        tally.size_bytes += size_bytes
        tally.took_ms += took_ms

    def _new_gets(self, topic: str, queue_id: int, group: str) -> Tally:
        key = f"{self._part(topic)}@{self._part(group)}"
        nums, size = self.counter(GROUP_GET_NUMS, key), self.counter(GROUP_GET_SIZE, key)
        latency = self.counter(GROUP_GET_LATENCY, f"{queue_id}@{key}" if self._detailed else key)
        tally = self._gets[topic, queue_id, group] = Tally((nums, self._broker_gets, size, latency))
        return tally

    def sent_back(self, topic: str, group: str) -> None:
        """A consumer handed a message of that topic back."""
        counter = self.counter(SNDBCK_PUT_NUMS, f"{self._part(topic)}@{self._part(group)}")
        counter.value += 1
        counter.times += 1

    def _part(self, name: str) -> str:
        return names.LMQ_PREFIX if self._light and names.is_light(name) else name

    # -- looking -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """The work of every ten seconds."""
        self._looks += 1
        self._count_puts()
        now_ms = self.now_ms()
        for tally in (*self._puts.values(), *self._gets.values()):
            tally.hand_over()
        for_hour = self._looks % LOOKS_AN_HOUR_SAMPLE == 0
        for_day = self._looks % LOOKS_A_DAY_SAMPLE == 0
        for counter in self._counters.values():
            counter.look(now_ms, for_hour, for_day)

    def rates(self) -> dict[str, str]:
        """Messages a second that came and went, under the names of the runtime information."""
        counters = {"putTps": self._broker_puts, "getTransferedTps": self._broker_gets}
        return {
            name: " ".join(f"{rate:.2f}" for rate in counter.rates()) for name, counter in counters.items()
        }

    def get_rate(self, topic: str, group: str) -> float:
        """Messages a second that the group pulled of the topic in the last minute."""
        found = self._counters.get((GROUP_GET_NUMS, f"{self._part(topic)}@{self._part(group)}"))
        return 0.0 if found is None else found.minute.tps

    @serves(RequestCode.VIEW_BROKER_STATS_DATA)
    def view(self, peer: Peer, frame: Frame, header: ViewBrokerStatsDataRequestHeader) -> Reply:
        self._count_puts()
        counter = self._counters.get((header.stats_name, header.stats_key))
        if counter is None:
            remark = f"The stats <{header.stats_name}> <{header.stats_key}> not exist"
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark)
        return Reply(body=counter.data().to_bytes())

    # -- forgetting ----------------------------------------------------------------------------------------

    def forget_topics(self, topics: Sequence[str]) -> None:
        """They were deleted (autoDeleteUnusedStats)."""
        self._count_puts()
        for topic in topics:
            self._forget(topic, 2)
            self._puts.pop(topic, None)
        self._gets = {key: gets for key, gets in self._gets.items() if key[0] not in topics}

    def forget_group(self, group: str) -> None:
        """It was deleted (autoDeleteUnusedStats)."""
        self._forget(group, 1)
        self._gets = {key: gets for key, gets in self._gets.items() if key[2] != group}

    def _forget(self, gone: str, from_the_end: int) -> None:
        """Drops counters of that topic (the last part of a key but one, or all of it) or group (the last)."""
        for name, key in list(self._counters):
            parts = key.split("@")
            if name in (TOPIC_PUT_NUMS, TOPIC_PUT_SIZE):
                parts.append("")
            if len(parts) > 1 and parts[-from_the_end] == gone:
                del self._counters[name, key]
