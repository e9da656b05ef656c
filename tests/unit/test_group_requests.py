"""Consumer groups made, changed, listed and deleted by request (200, 201, 207), on a broker in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, SubscriptionGroupWrapper
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import DeleteSubscriptionGroupRequestHeader
from tests.memory_broker import MemoryBroker


class GroupRequests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()

    def put(self, name: str = "cg", **settings: Any) -> Frame:
        body = SubscriptionGroupConfig(group_name=name, **settings).to_bytes()
        return self.broker.ask(Frame.request(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, None, body))

    def listed(self) -> dict[str, SubscriptionGroupConfig]:
        answer = self.broker.ask(Frame(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, 1))
        return SubscriptionGroupWrapper.from_bytes(answer.body).subscription_group_table

    def delete(self, name: str = "cg", **fields: Any) -> Frame:
        header = DeleteSubscriptionGroupRequestHeader(group_name=name, **fields)
        return self.broker.ask(Frame.request(RequestCode.DELETE_SUBSCRIPTIONGROUP, header))

    def test_a_group_is_made_changed_and_kept_over_a_restart(self) -> None:
        self.assertNotIn("cg", self.listed())
        self.assertEqual(self.put(retry_max_times=3).code, ResponseCode.SUCCESS)
        self.put(retry_max_times=4, retry_queue_nums=2)
        self.broker = self.broker.restarted()
        kept = self.listed()["cg"]
        self.assertEqual((kept.retry_max_times, kept.retry_queue_nums), (4, 2))

    def test_what_it_says_counts_at_once(self) -> None:
        self.broker.send(b"x")
        for enabled, code in ((False, ResponseCode.NO_PERMISSION), (True, ResponseCode.SUCCESS)):
            self.put(consume_enable=enabled)
            self.assertEqual(self.broker.pull().code, code)

    def test_a_group_that_need_not_be_made_by_hand_is_listed_as_well(self) -> None:
        self.broker.send(b"x")
        self.broker.pull(group="by-itself")
        self.assertIn("by-itself", self.listed())

    def test_where_groups_are_made_by_hand_only_a_deleted_one_is_refused_again(self) -> None:
        self.broker.settings.broker.auto_create_subscription_group = False
        self.broker.send(b"x")
        codes = [self.broker.pull().code]
        self.put()
        codes.append(self.broker.pull().code)
        self.delete()
        codes.append(self.broker.pull().code)
        missing = ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
        self.assertEqual(codes, [missing, ResponseCode.SUCCESS, missing])

    def test_its_offsets_go_only_when_that_is_asked_for(self) -> None:
        for remove_offset, left in ((False, 5), (True, -1)):
            self.put()
            self.broker.parts.offsets.commit("cg", "Orders", 0, 5)
            answer = self.delete(remove_offset=remove_offset)
            self.assertEqual((answer.code, answer.remark), (ResponseCode.SUCCESS, None))
            self.assertNotIn("cg", self.listed())
            self.assertEqual(self.broker.parts.offsets.query("cg", "Orders", 0), left)

    def test_an_unknown_one_is_deleted_without_complaint(self) -> None:
        self.assertEqual(self.delete("nobody").code, ResponseCode.SUCCESS)

    def test_what_is_no_group_is_refused(self) -> None:
        request = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        self.assertNotEqual(self.put("../../etc").code, ResponseCode.SUCCESS)
        self.assertNotEqual(self.broker.ask(Frame(request, 1)).code, ResponseCode.SUCCESS)
        before = self.listed()
        answer = self.broker.ask(Frame(request, 1, body=b"null"))  # which Apache takes for nothing to do
        self.assertEqual((answer.code, self.listed()), (ResponseCode.SUCCESS, before))

    def test_a_slave_leaves_groups_to_its_master(self) -> None:
        self.put()
        self.broker = self.broker.restarted(brokerRole="SLAVE", brokerId=1)
        before = self.listed()
        for answer in (self.put("other"), self.put(retry_max_times=1), self.delete()):
            self.assertNotEqual(answer.code, ResponseCode.SUCCESS)
            self.assertIn("slave", (answer.remark or "").lower())
        self.assertEqual(self.listed(), before)
