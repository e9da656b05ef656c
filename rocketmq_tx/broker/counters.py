"""A value that grows, looked at every ten seconds: what it came to over the last minute, hour and day.

Facts: `spec/stats.yaml`, stats_items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rocketmq_tx.protocol.bodies import BrokerStatsData, BrokerStatsItem

LOOK_S = 10
LOOKS_AN_HOUR_SAMPLE = 60
LOOKS_A_DAY_SAMPLE = 360

Sample = tuple[int, int, int]
"""(epoch ms, value, times)."""


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
