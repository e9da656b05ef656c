"""The replayed broker lives on the test's clock alone."""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from tests.replay import ReplayedBroker
from tests.send_headers import send_header


class ReplayTests(SynchronousTestCase):
    def test_a_flush_takes_no_thread(self) -> None:
        broker = ReplayedBroker(flushDiskType="SYNC_FLUSH")
        store = broker.parts.store
        broker.parts.topics.put(make_topic("t", 1))
        running = set(threading.enumerate())
        send = Frame.request(RequestCode.SEND_MESSAGE_V2, send_header("t"), b"x")
        (answer,) = broker.serve(encode_frame(send))
        self.assertEqual(answer.code, 0, answer.remark)
        self.assertEqual(set(threading.enumerate()) - running, set())
        self.assertGreater(store.written_to, 0)
        self.assertEqual(store.flushed_to, store.written_to)
