"""Replication between two stores in memory: catching up, resuming, faults of the wire (rows 34 and 35)."""

from __future__ import annotations

import copy
import errno
import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import BrokerRole, FlushDiskType
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.ha_frames import PieceDecoder, ReportDecoder, encode_piece_head, encode_report
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.replication.slave_end import JOINED_BYTES
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store
from tests.unit.replication_parts import Pair
from tests.wire import Wire


class StreamCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair()

    def assertEqualStores(self, pair: Pair | None = None) -> None:
        """The slave has everything that its master has, byte for byte, and in the same queues."""
        pair = pair or self.pair
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        ours, theirs = pair.logs()
        self.assertEqual(ours, theirs)
        self.assertEqual(pair.queues(pair.slave), pair.queues(pair.master))


class CatchingUpTests(StreamCase):
    def test_an_empty_slave_gets_the_whole_log_over_several_files(self) -> None:
        self.pair.send(700, 300)
        self.assertGreater(self.pair.master.written_to, 3 * SEGMENT)
        self.pair.catch_up()
        self.assertEqualStores()
        self.assertEqual(self.pair.sending.acknowledged, self.pair.master.written_to)

    def test_a_slave_that_is_behind_goes_on_where_it_ended(self) -> None:
        self.pair.send(50)
        self.pair.catch_up()
        self.pair.wire.cut()
        self.pair.send(400, 500)
        self.pair.catch_up()
        self.assertEqualStores()

    def test_a_slave_that_ended_within_what_follows_a_blank_goes_on_there(self) -> None:
        self.pair.send(1, 60_000)
        self.pair.send(1, 10_000)
        blank_at = self.pair.master.entry_at("T", 0, 0)[1]
        self.pair.master.config.ha_transfer_batch_size = 500
        wire = self.pair.connect(chunk=500)
        while self.pair.slave.written_to <= blank_at + 100:
            wire.step()
        wire.cut()
        self.assertLess(self.pair.slave.written_to, SEGMENT)
        self.pair.catch_up()
        self.assertEqualStores()

    def test_what_is_sent_to_the_master_arrives_without_time_passing(self) -> None:
        self.pair.connect().pump()
        self.pair.send(5)
        self.pair.wire.pump()
        self.assertEqualStores()
        self.assertEqual(set().union(*self.pair.arrived), {("T", 0), ("T", 1), ("T", 2)})

    def test_a_slave_of_a_master_that_deleted_its_oldest_files_begins_with_the_oldest_that_is_left(
        self,
    ) -> None:
        self.pair.send(500, 300)
        disk = self.pair.master_disk.after_kill()
        disk.remove("/store/commitlog/" + "0" * 20)
        pair = Pair(master=disk)
        self.assertEqual(pair.master.min_offset, SEGMENT)
        pair.catch_up()
        self.assertEqual(pair.slave.min_offset, SEGMENT)
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        self.assertEqual(*pair.logs())
        for queue in pair.master.queues():
            self.assertEqual(pair.slave.queue_offsets(*queue), pair.master.queue_offsets(*queue))

    def test_an_empty_slave_gets_the_last_file_only_when_told_so(self) -> None:
        self.pair.send(500, 300)
        self.pair.master.config.ha_sync_from_last_file = True
        self.pair.catch_up()
        self.assertEqual(self.pair.slave.min_offset, self.pair.master.written_to // SEGMENT * SEGMENT)
        self.assertEqual(self.pair.slave.written_to, self.pair.master.written_to)

    def test_a_restarted_slave_has_what_it_had_and_goes_on(self) -> None:
        self.pair.send(300, 300)
        self.pair.catch_up()
        slave = self.pair.slave_disk.after_kill()
        self.pair.send(300, 300)
        again = Pair(self.pair.master_disk.after_kill(), slave)
        again.catch_up()
        self.assertEqualStores(again)

    def test_cold_parts_of_the_log_are_warmed_off_the_reactor(self) -> None:
        self.pair.send(300, 300)
        disk = self.pair.master_disk.after_kill()
        pair = Pair(master=disk)
        disk.cold.update(path for path in disk.nodes if "commitlog" in path)
        pair.catch_up()
        self.assertEqualStores(pair)

    def test_files_of_another_size_end_the_stream_with_what_to_do(self) -> None:
        self.pair.slave = open_store(MemoryDisk(), mapped_file_size_commit_log=2 * SEGMENT)
        self.pair.send(500, 300)
        self.pair.connect().pump(100_000)
        self.assertIn("mappedFileSizeCommitLog", self.successResultOf(self.pair.following.ended))


class SlowSlaveTests(StreamCase):
    """Row 34."""

    def test_a_slave_that_does_not_read_costs_one_buffer_and_delays_nobody(self) -> None:
        stuck = self.pair
        wire = stuck.connect()
        wire.pump()
        wire.client.reads = False
        other = copy.copy(stuck)
        other.slave = open_store(MemoryDisk())
        other.connect()
        stuck.send(1000, 1000)
        other.wire.pump(100_000)
        self.assertEqualStores(other)
        self.assertLess(len(wire.server.out), 200_000)
        wire.client.reads = True
        wire.pump(100_000)
        self.assertEqualStores(stuck)

    def test_a_slave_whose_disk_is_full_leaves_and_catches_up_when_there_is_room(self) -> None:
        self.pair.connect().pump()
        self.pair.slave_disk.fail("write", "commitlog", errno.ENOSPC)
        self.pair.send(3)
        self.pair.wire.pump()
        self.assertIn("No space", self.successResultOf(self.pair.following.ended))
        self.assertEqual(len(self.pair.slaves), 0)
        self.pair.slave_disk.heal()
        self.pair.catch_up()
        self.assertEqualStores()

    def test_a_silent_slave_is_given_up_after_haHousekeepingInterval(self) -> None:
        self.pair.connect().pump()
        self.pair.clock.advance(19)
        self.pair.sending.look_after()
        self.assertEqual(len(self.pair.slaves), 1)
        self.pair.clock.advance(2)
        self.pair.sending.look_after()
        self.pair.wire.pump()
        self.assertEqual(len(self.pair.slaves), 0)

    def test_both_sides_give_signs_of_life_every_haSendHeartbeatInterval(self) -> None:
        self.pair.send(1)
        self.pair.catch_up()
        self.pair.clock.advance(5)
        self.pair.sending.look_after()
        self.pair.following.look_after()
        end = self.pair.master.written_to
        self.assertEqual(bytes(self.pair.wire.server.out), encode_piece_head(end, 0))
        self.assertEqual(bytes(self.pair.wire.client.out), encode_report(end))
        self.pair.wire.pump()
        self.assertEqual(len(self.pair.slaves), 1)

    def test_a_slave_leaves_a_silent_master(self) -> None:
        self.pair.connect().pump()
        self.pair.clock.advance(21)
        self.pair.following.look_after()
        self.pair.wire.pump()
        self.assertIn("nothing was heard", self.successResultOf(self.pair.following.ended))


class WireFaultTests(StreamCase):
    """Row 35."""

    def held_back(self, pair: Pair) -> Wire:
        """A connection on which the master has sent, and nothing has arrived yet."""
        wire = pair.connect()
        wire.client.reads = False
        wire.step()
        return wire

    def test_the_link_may_be_cut_at_each_byte_of_the_stream(self) -> None:
        self.pair.send(3, 40)
        stream = len(self.held_back(self.pair).server.out)
        self.assertGreater(stream, 300)
        for length in range(stream + 1):
            pair = Pair()
            pair.send(3, 40)
            wire = self.held_back(pair)
            wire.client.protocol.dataReceived(bytes(wire.server.out[:length]))
            wire.cut()
            self.assertEqual(*pair.logs())
            pair.catch_up()
            self.assertEqualStores(pair)

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, 2**32), st.integers(64, 3000))
    def test_bytes_that_come_twice_or_in_another_order_never_get_into_the_log(
        self, seed: int, size: int
    ) -> None:
        """A proxy that mixes up what it read; once it has gone, the slave gets what it lacks.

        The messages have no properties: nothing in Apache's protocol protects those but TCP itself.
        """
        dice = random.Random(seed)
        pair = Pair()
        pair.master.append_all([message("T", n % 3, b"%d-" % n + b"x" * 400) for n in range(40)], NOW)
        wire = self.held_back(pair)
        data = bytes(wire.server.out)
        chunks = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        at = dice.randrange(len(chunks))
        if dice.random() < 0.5:
            chunks.insert(at, chunks[at])
        else:
            chunks.insert(at, chunks.pop(dice.randrange(len(chunks))))
        for chunk in chunks:
            wire.client.protocol.dataReceived(chunk)
        wire.cut()
        pair.catch_up()
        self.assertEqualStores(pair)

    def test_a_record_that_is_damaged_on_the_master_itself_is_believed_when_it_comes_again(self) -> None:
        self.pair.send(6)
        disk = self.pair.master_disk.after_kill()
        entry = self.pair.master.entry_at("T", 2, 0)
        log = disk.nodes["/store/commitlog/" + "0" * 20].content
        log[entry[0] + 100] ^= 1  # in its body
        pair = Pair(master=disk)
        pair.catch_up()
        self.assertLess(pair.slave.written_to, pair.master.written_to)
        pair.catch_up()
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        self.assertEqual(*pair.logs())
        self.assertEqual(
            pair.slave.get_messages("T", 2, 0, 9).count, pair.master.get_messages("T", 2, 0, 9).count
        )

    def test_noise_ends_the_connection_of_either_side(self) -> None:
        wire = self.pair.connect()
        wire.pump()
        wire.client.protocol.dataReceived(b"\xff" * 100)
        wire.pump()
        self.assertEqual(len(self.pair.slaves), 0)
        wire = self.pair.connect()
        wire.pump()
        wire.server.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        wire.pump()
        self.assertEqual(len(self.pair.slaves), 0)


class RefusalTests(StreamCase):
    """Row 36, as far as the stream alone shows it: nothing is sent to who cannot be a slave of this log."""

    def test_a_slave_that_is_ahead_gets_nothing(self) -> None:
        self.pair.connect(begin=100).step()
        self.pair.wire.pump()
        self.assertEqual(self.pair.slaves.replicated_to, 0)
        self.assertEqual(len(self.pair.slaves), 0)

    def test_a_slave_that_lacks_what_was_deleted_gets_nothing(self) -> None:
        self.pair.send(500, 300)
        disk = self.pair.master_disk.after_kill()
        disk.remove("/store/commitlog/" + "0" * 20)
        pair = Pair(master=disk)
        pair.connect(begin=100).pump()
        self.assertEqual(len(pair.slaves), 0)
        self.assertEqual(pair.slave.written_to, 0)

    def test_what_was_not_sent_is_not_acknowledged(self) -> None:
        self.pair.send(1)
        self.pair.catch_up()
        self.pair.wire.server.protocol.dataReceived(encode_report(self.pair.master.written_to + 1))
        self.pair.wire.pump()
        self.assertEqual(len(self.pair.slaves), 0)
        self.assertEqual(self.pair.slaves.replicated_to, self.pair.master.written_to)

    def test_pieces_are_no_longer_than_haTransferBatchSize_and_end_with_their_file(self) -> None:
        self.pair.send(400, 400)
        self.pair.master.config.ha_transfer_batch_size = 10_000
        wire = self.pair.connect()
        wire.step()
        pieces = PieceDecoder().feed(bytes(wire.server.out))
        self.assertGreater(len(pieces), 6)
        for piece in pieces:
            self.assertLessEqual(len(piece.body), 10_000)
            self.assertEqual(piece.offset // SEGMENT, (piece.offset + len(piece.body) - 1) // SEGMENT)


class DoubleWriteTests(StreamCase):
    """What a sender is told under SYNC_MASTER."""

    def setUp(self) -> None:
        super().setUp()
        self.pair.master.config.broker_role = BrokerRole.SYNC_MASTER

    def sent(self):
        self.pair.send(1)
        return self.pair.slaves.acknowledged(self.pair.master.written_to)

    def test_without_a_slave_it_is_told_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.sent()), ResponseCode.SLAVE_NOT_AVAILABLE)

    def test_the_first_slave_that_has_the_message_is_enough_for_all_who_wait(self) -> None:
        self.pair.connect().pump()
        waiting = [self.sent() for _ in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        self.pair.wire.pump()
        for each in waiting:
            self.assertEqual(self.successResultOf(each), ResponseCode.SUCCESS)

    def test_what_it_wakes_leaves_in_the_same_turn(self) -> None:
        connections = Connections(self.pair.clock, Registry())
        self.pair.slaves.turn_end = connections.turn_end
        self.pair.connect().pump()
        producer, transport = FrameProtocol(connections), StringTransport()
        producer.makeConnection(transport)
        self.sent().addCallback(lambda code: producer.write_soon(code.name.encode()))
        for _ in range(2):
            self.pair.wire.step()
        self.assertEqual(transport.value(), b"SUCCESS")
        self.assertFalse(self.pair.slaves.turn_end.reading)

    def test_a_slave_that_does_not_answer_in_slaveTimeout_is_told(self) -> None:
        wire = self.pair.connect()
        wire.pump()
        wire.client.reads = False
        waiting = self.sent()
        self.pair.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.pair.clock.advance(0.2)
        self.assertEqual(self.successResultOf(waiting), ResponseCode.FLUSH_SLAVE_TIMEOUT)

    def test_a_slave_that_is_haSlaveFallbehindMax_behind_does_not_count(self) -> None:
        wire = self.pair.connect()
        wire.pump()
        wire.client.reads = False
        self.pair.master.config.ha_slave_fallbehind_max = 1000
        self.pair.send(5)
        self.assertGreater(self.pair.master.written_to, 1000)
        self.assertEqual(self.successResultOf(self.sent()), ResponseCode.SLAVE_NOT_AVAILABLE)

    def test_another_slave_that_had_more_and_is_gone_does_not_make_a_lagging_one_count(self) -> None:
        self.pair.master.config.ha_slave_fallbehind_max = 1000
        self.pair.send(5)
        self.pair.catch_up()
        self.pair.wire.cut()
        fresh = Pair()
        self.pair.slave = fresh.slave
        wire = self.pair.connect()
        wire.client.reads = False
        wire.pump()
        self.assertEqual(self.pair.sending.acknowledged, 0)
        self.assertEqual(self.successResultOf(self.sent()), ResponseCode.SLAVE_NOT_AVAILABLE)

    def read_of_much(self, flush_disk_type: FlushDiskType) -> list[int]:
        """What a slave says to one read that brings 40 messages of 1 KiB."""
        pair = self.pair = Pair(mapped_file_size_commit_log=1 << 20)
        pair.connect().pump()
        pair.slave.config.flush_disk_type = flush_disk_type
        pair.flushes.held = True
        pair.send(40, 1000)
        pair.following.dataReceived(pair.wire.server.take(None))
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        return ReportDecoder().feed(pair.wire.client.take(None))

    def test_a_slave_acknowledges_the_first_messages_of_a_read_before_it_appends_the_others(self) -> None:
        said = self.read_of_much(FlushDiskType.ASYNC_FLUSH)
        self.assertEqual(said[-1], self.pair.master.written_to)
        self.assertEqual(len(said), 3)
        for offset, next_one in pairwise([0, *said]):
            self.assertLess(offset, next_one)
            self.assertLess(next_one - offset, 2 * JOINED_BYTES)
        self.assertEqual(len(self.pair.arrived), 3)

    def test_a_slave_under_SYNC_FLUSH_flushes_once_for_a_read(self) -> None:
        self.assertEqual(self.read_of_much(FlushDiskType.SYNC_FLUSH), [])
        [(offset, _)] = self.pair.flushes.waiting
        self.assertEqual(offset, self.pair.master.written_to)

    def test_a_slave_under_SYNC_FLUSH_acknowledges_what_is_on_its_disk(self) -> None:
        self.pair.slave.config.flush_disk_type = FlushDiskType.SYNC_FLUSH
        self.pair.connect().pump()
        self.pair.flushes.held = True
        first = self.sent()
        self.pair.wire.pump()
        second = self.sent()
        self.pair.wire.pump()
        self.assertNoResult(first)
        [(offset, flushed)] = self.pair.flushes.waiting
        flushed.callback(None)
        self.pair.wire.pump()
        self.assertEqual(self.successResultOf(first), ResponseCode.SUCCESS)
        self.assertNoResult(second)
        self.assertLess(offset, self.pair.master.written_to)
        self.pair.flushes.waiting[1][1].callback(None)
        self.pair.wire.pump()
        self.assertEqual(self.successResultOf(second), ResponseCode.SUCCESS)
