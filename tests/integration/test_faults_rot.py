"""Rows 12 and 19 of the faults: a real broker whose records have rotted, and one without descriptors left."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import ViewMessageRequestHeader
from rocketmq_tx.protocol.message import decode_record, decode_records
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.store_files import StoreFiles
from rocketmq_tx.store.verify import verify
from tests.clusters import HOST
from tests.integration.fault_parts import Client, FaultCase, Server
from tests.waiting import wait_until

MESSAGES = 40
ROTTEN = 7
LIMIT = 64


class RotTests(FaultCase):
    """Row 12: a record in the middle has a wrong checksum; it alone is withheld, and the log says where."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.broker()
        self.bodies = [b"message %d " % number + b"x" * (number * 50) for number in range(MESSAGES)]
        with self.client(self.server) as client:
            for body in self.bodies:
                self.assertEqual(client.send_message(body=body).code, ResponseCode.SUCCESS)

    def rot(self) -> int:
        """Flips a bit in the body of one record; where that record begins."""
        log = self.server.process.folder / "store/commitlog" / f"{0:020d}"
        content = log.read_bytes()
        body_at = content.index(self.bodies[ROTTEN])
        with log.open("r+b") as file:
            file.seek(body_at)
            file.write(bytes([content[body_at] ^ 0x10]))
        place = content.rindex(bytes.fromhex("DAA320A7"), 0, body_at) - 4
        self.assertEqual(decode_record(content[place : body_at + 4096]).body, self.bodies[ROTTEN])
        return place

    def consumed(self, client: Client) -> list[bytes]:
        """What a consumer gets that goes where each answer sends it, until there is no more."""
        found, offset = [], 0
        while True:
            answer = client.pull(offset)
            if answer.code == ResponseCode.PULL_NOT_FOUND:
                self.assertEqual(offset, MESSAGES)
                return found
            found += [record.body for record in decode_records(answer.body, check_crc=True)]
            following = int((answer.ext_fields or {})["nextBeginOffset"])
            self.assertGreater(following, offset)
            offset = following

    def check(self, place: int) -> None:
        self.server.start()
        client = self.client(self.server)
        self.assertEqual(self.consumed(client), self.bodies[:ROTTEN] + self.bodies[ROTTEN + 1 :])
        viewed = client.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=place))
        self.assertEqual(viewed.code, ResponseCode.SYSTEM_ERROR)
        wait_until(lambda: self.server.lines("withheld", str(place)), "the log names the record")
        said = self.server.lines("withheld")
        self.assertEqual(self.consumed(client), self.bodies[:ROTTEN] + self.bodies[ROTTEN + 1 :])
        self.assertEqual(self.server.lines("withheld"), said, "said anew with every pull")
        self.assertEqual(client.send_message(body=b"goes on").code, ResponseCode.SUCCESS)
        files = StoreFiles(ReadOnlyDisk(), str(self.server.process.folder / "store"))
        damage = [finding.sentence for finding in verify(files).findings.kept if finding.is_damage]
        self.assertEqual(len(damage), 1)
        self.assertIn(f"the record at {place} ", damage[0])

    def test_a_record_that_rots_while_the_broker_is_stopped_is_withheld(self) -> None:
        self.server.process.stop()
        self.check(self.rot())

    def test_a_record_that_rots_and_is_met_by_a_recovery_is_withheld(self) -> None:
        self.server.process.kill()
        self.check(self.rot())


class AcceptTests(FaultCase):
    """Row 19: no descriptor is left for another connection."""

    def test_connections_leave_the_store_its_descriptors_and_new_ones_are_accepted_again(self) -> None:
        server = self.broker(flushDiskType="SYNC_FLUSH", mappedFileSizeCommitLog=8192)
        client = self.client(server)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        self.assertEqual(client.send_message(body=b"before").code, ResponseCode.SUCCESS)
        crowd = [self.connected(server) for _ in range(LIMIT)]
        wait_until(lambda: server.lines("connection refused", "are for the store"), "some are refused")
        for number in range(60):
            sent = client.send_message(f"T{number}", b"x" * 1000)
            self.assertEqual(sent.code, ResponseCode.SUCCESS, sent.remark)
        wait_until(lambda: len(self.queue_files(server)) == 61, "all queues are written")
        for number in range(60):
            self.assertEqual(len(decode_records(client.pull(0, f"T{number}").body)), 1)
        self.assertEqual(len(server.lines("connection refused")), 1)
        self.assertEqual(server.lines("EMFILE"), [])
        for one in crowd:
            one.close()

        def served_again() -> bool:
            with contextlib.suppress(ConnectionError, TimeoutError), Client(server.port, 2) as another:
                return another.send_message(body=b"after").code == ResponseCode.SUCCESS
            return False

        wait_until(served_again, "new connections are served again")
        self.assertEqual(client.send_message().code, ResponseCode.SUCCESS)
        self.assertLess(len(server.process.output()), 20_000, "it does not say so all the time")

    def connected(self, server: Server) -> socket.socket:
        """A connection that the kernel has made, whether the broker gets to it or not."""
        one = socket.create_connection((HOST, server.port), timeout=10)
        self.addCleanup(one.close)
        return one

    def queue_files(self, server: Server) -> list[Path]:
        return list((server.process.folder / "store/consumequeue").glob("*/0/*"))
