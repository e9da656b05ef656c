"""Errors carry what was being done to what."""

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx import errors


class ErrorTree(SynchronousTestCase):
    def test_a_refusal_carries_its_code_and_remark(self) -> None:
        refused = errors.RequestRefused(17, "topic[T] not exist")
        self.assertEqual((refused.code, refused.remark), (17, "topic[T] not exist"))
        self.assertIsInstance(refused, errors.PeerError)

    def test_a_header_error_names_header_and_field(self) -> None:
        error = errors.HeaderError("PullMessageRequestHeader", "queueId", "is missing")
        self.assertIn("PullMessageRequestHeader.queueId", str(error))

    def test_a_refused_call_names_command_address_and_code(self) -> None:
        error = errors.CallRefused("GET_ROUTEINFO_BY_TOPIC", "127.0.0.1:9876", 17, None)
        self.assertIn("GET_ROUTEINFO_BY_TOPIC to 127.0.0.1:9876", str(error))
        self.assertIn("17", str(error))
