"""Counts what is put, pulled and sent back, and shows it over the last minute, hour and day (request 315).

Counting is an addition or two for each append and each answered pull. Every ten seconds the counters are
looked at, and a rate is what lies between two looks. Facts: `spec/stats.yaml`, stats_items.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import BrokerStatsData, BrokerStatsItem
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import ViewBrokerStatsDataRequestHeader
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.append import NewMessage, Placed

LOOK_S = 10
UNCOUNTED_PUTS_MAX = 8192
LOOKS_AN_HOUR_SAMPLE = 60
LOOKS_A_DAY_SAMPLE = 360
TOPIC_PUT_NUMS, TOPIC_PUT_SIZE = "TOPIC_PUT_NUMS", "TOPIC_PUT_SIZE"
GROUP_GET_NUMS, GROUP_GET_SIZE = "GROUP_GET_NUMS", "GROUP_GET_SIZE"
GROUP_GET_LATENCY, SNDBCK_PUT_NUMS = "GROUP_GET_LATENCY", "SNDBCK_PUT_NUMS"
BROKER_PUT_NUMS, BROKER_GET_NUMS = "BROKER_PUT_NUMS", "BROKER_GET_NUMS"

Sample = tuple[int, int, int]
"""(epoch ms, value, times)."""
_size = itemgetter(1)


class Window:
    """The newest samples of a counter, `period_ms` apart; none for one that rests, which costs nothing."""

    __slots__ = ("_before", "_period_ms", "_samples")

    def __init__(self, period_ms: int, length: int) -> None:
        self._period_ms = period_ms
        self._samples: deque[Sample] = deque(maxlen=length)
        self._before = (0, 0)

    def look(self, now_ms: int, value: int, times: int) -> None:
        """Takes a sample; the first one is compared with what was there a period earlier."""
        samples, now = self._samples, (value, times)
        if not samples:
            if now == self._before:
                return
            samples.append((now_ms - self._period_ms, *self._before))
        samples.append((now_ms, value, times))
        self._before = now
        if len(samples) == samples.maxlen and samples[0][1:] == now:
            samples.clear()

    def figures(self) -> BrokerStatsItem:
        """Sum, rate per second, and average of a call, between the oldest sample and the newest."""
        if not self._samples:
            return BrokerStatsItem()
        (began, value, times), (ended, last_value, last_times) = self._samples[0], self._samples[-1]
        total, calls, took_ms = last_value - value, last_times - times, ended - began
        return BrokerStatsItem(
            sum=total,
            tps=total * 1000 / took_ms if took_ms > 0 else 0.0,
            avgpt=total / calls if calls else 0.0,
        )

    def last_rate(self) -> float:
        """Per second, between the two newest samples."""
        if len(self._samples) < 2:
            return 0.0
        (began, value, _), (ended, last_value, _) = self._samples[-2], self._samples[-1]
        return (last_value - value) * 1000 / (ended - began) if ended > began else 0.0


class Counter:
    """A value that grows, in so many calls, and what it was before."""

    __slots__ = ("_day", "_hour", "_minute", "times", "value")

    def __init__(self) -> None:
        self.value = self.times = 0
        self._minute = Window(LOOK_S * 1000, 7)
        self._hour = Window(LOOK_S * LOOKS_AN_HOUR_SAMPLE * 1000, 7)
        self._day = Window(LOOK_S * LOOKS_A_DAY_SAMPLE * 1000, 25)

    def look(self, now_ms: int, for_hour: bool, for_day: bool) -> None:
        self._minute.look(now_ms, self.value, self.times)
        if for_hour:
            self._hour.look(now_ms, self.value, self.times)
        if for_day:
            self._day.look(now_ms, self.value, self.times)

    @property
    def minute(self) -> BrokerStatsItem:
        return self._minute.figures()

    def rates(self) -> tuple[float, float, float]:
        """Per second, over the last ten seconds, a minute, and the last ten minutes that were counted."""
        return self._minute.last_rate(), self.minute.tps, self._hour.last_rate()

    def data(self) -> BrokerStatsData:
        return BrokerStatsData(
            stats_minute=self._minute.figures(),
            stats_hour=self._hour.figures(),
            stats_day=self._day.figures(),
        )


class Tally:
    """What has come since the last look, and the counters to which it belongs."""

    __slots__ = ("calls", "counters", "messages", "size_bytes", "took_ms")

    def __init__(self, counters: Sequence[Counter]) -> None:
        self.counters = counters
        """Of messages, of those of the whole broker, of bytes, and of milliseconds, if these are counted."""
        self.messages = self.calls = self.size_bytes = self.took_ms = 0

    def hand_over(self) -> None:
        """Adds it to the counters, and begins at 0."""
        if not self.calls:
            return
        values = (self.messages, self.messages, self.size_bytes, self.took_ms)
        for counter, value in zip(self.counters, values, strict=False):
            counter.value += value
            counter.times += self.calls
        self.messages = self.calls = self.size_bytes = self.took_ms = 0


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
