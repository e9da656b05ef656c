"""What goes wrong around a promotion: operators at once, brokers that see each other in part, full disks."""

from __future__ import annotations

import errno

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import UpdateConsumerOffsetRequestHeader
from tests.unit.test_role_change_simulated import FIRST, SECOND, PromotionCase


class ReturningWithoutRoomTests(PromotionCase):
    def test_a_disk_too_full_for_what_is_cut_stops_nothing_else(self) -> None:
        self.begin("ASYNC_MASTER")
        self.send(self.first, 20)
        self.wait_equal(self.first, self.second)
        self.world.network.partition(FIRST, SECOND)
        self.send(self.first, 7)
        self.first.kill()
        self.promote(self.second, force=True)
        self.send(self.second, 12)
        self.world.network.heal()
        self.first.disk.fail("write", "/cut/", errno.ENOSPC)
        self.first.start()
        self.world.run(20)
        self.assertIn("no room to write", self.first.parts.replication._follower._last_problem)
        jobs = self.first.parts.store_service._jobs
        self.assertEqual([job.name for job in jobs if not job.running], [])
        self.first.disk.heal()
        self.world.run(40)
        self.wait_equal(self.first, self.second)
        (name,) = [name for name in self.first.disk.names("/store/cut") if not name.endswith(".tmp")]
        self.assertTrue(name.startswith("epoch-0-from-"))


class OffsetTests(PromotionCase):
    def test_what_a_new_master_takes_is_not_skipped_where_consumers_were_further_with_the_old_one(self) -> None:
        """The slave has its master's offsets, and not the messages that they tell of."""
        self.begin("ASYNC_MASTER")
        self.send(self.first, 20)
        self.wait_equal(self.first, self.second)
        self.second.disk.fail("write", "commitlog", errno.ENOSPC)
        self.send(self.first, 20)
        consumed = UpdateConsumerOffsetRequestHeader(
            consumer_group="cg", topic="TopicTest", queue_id=0, commit_offset=10
        )
        self.client.ask(self.first.address, Frame.request(RequestCode.UPDATE_CONSUMER_OFFSET, consumed))
        self.world.run(15)
        offsets = self.second.parts.offsets
        self.assertEqual(offsets.query("cg", "TopicTest", 0), 10)
        self.first.kill()
        self.second.disk.heal()
        self.world.run(40)
        self.promote(self.second, force=True)
        self.assertEqual(self.second.store.queue_offsets("TopicTest", 0), (0, 5))
        self.assertEqual(offsets.query("cg", "TopicTest", 0), 5)
        self.second.kill()
        self.second.start()
        self.world.run(5)
        self.assertEqual(self.second.parts.offsets.query("cg", "TopicTest", 0), 5)
