"""Bit fields have the protocol's numbers."""

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol import flags
from rocketmq_tx.protocol.flags import Perm, PullSysFlag, SysFlag


class Flags(SynchronousTestCase):
    def test_permissions_are_shown_as_letters(self) -> None:
        shown = [flags.perm_text(perm) for perm in (0, 1, 2, 4, 6, 7, Perm.READ | Perm.WRITE)]
        self.assertEqual(shown, ["---", "--X", "-W-", "R--", "RW-", "RWX", "RW-"])

    def test_transaction_bits_are_read_and_replaced_alone(self) -> None:
        half = SysFlag.COMPRESSED | SysFlag.TRANSACTION_PREPARED
        self.assertEqual(flags.transaction_type(half), SysFlag.TRANSACTION_PREPARED)
        committed = flags.with_transaction_type(half, SysFlag.TRANSACTION_COMMIT)
        self.assertEqual(committed, SysFlag.COMPRESSED | SysFlag.TRANSACTION_COMMIT)
        self.assertEqual(flags.with_transaction_type(half, flags.TRANSACTION_NOT), SysFlag.COMPRESSED)

    def test_a_lite_pull_asks_with_twenty_two(self) -> None:
        self.assertEqual(PullSysFlag.SUSPEND | PullSysFlag.SUBSCRIPTION | PullSysFlag.LITE_PULL, 22)
