"""Producers and consumers by group and connection: what counts as a change, and when a client is gone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.clients import (
    CLIENT_EXPIRED_S,
    EXPIRY_SCAN_INTERVAL_S,
    ClientConnection,
    Consumers,
    ExpiryScan,
    GroupMembers,
    Producers,
)
from rocketmq_tx.protocol.bodies import (
    ConsumeFromWhere,
    ConsumerData,
    ConsumeType,
    MessageModel,
    SubscriptionData,
)


class FakePeer:
    """A connection, as far as the tables care: an identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


A, B, C = FakePeer("a"), FakePeer("b"), FakePeer("c")


def client(peer: FakePeer, client_id: str = "", seen_at_s: float = 0.0) -> ClientConnection:
    as_any: Any = peer
    return ClientConnection(as_any, client_id or f"id-{peer.name}", 0, 407, seen_at_s, int(seen_at_s * 1000))


def consumer(
    group: str, *topics: str, version: int = 1, model: MessageModel = MessageModel.CLUSTERING
) -> ConsumerData:
    return ConsumerData(
        group_name=group,
        consume_type=ConsumeType.CONSUME_PASSIVELY,
        message_model=model,
        consume_from_where=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET,
        subscription_data_set=[
            SubscriptionData(topic=topic, sub_string="*", sub_version=version) for topic in topics
        ],
    )


class ConsumerGroupChanges(SynchronousTestCase):
    def setUp(self) -> None:
        self.consumers = Consumers()

    def register(self, peer: FakePeer, data: ConsumerData) -> bool:
        return self.consumers.register(client(peer), data)

    def test_a_new_connection_changes_the_group(self) -> None:
        self.assertTrue(self.register(A, consumer("g", "t")))
        self.assertTrue(self.register(B, consumer("g", "t")))

    def test_the_same_heartbeat_again_changes_nothing(self) -> None:
        self.register(A, consumer("g", "t"))
        self.assertFalse(self.register(A, consumer("g", "t")))

    def test_an_added_and_a_dropped_topic_change_the_group(self) -> None:
        self.register(A, consumer("g", "t"))
        self.assertTrue(self.register(A, consumer("g", "t", "u")))
        self.assertTrue(self.register(A, consumer("g", "u")))
        self.assertEqual(list(self.consumers.find("g").subscriptions), ["u"])

    def test_a_newer_subscription_is_taken_without_counting_as_a_change(self) -> None:
        self.register(A, consumer("g", "t", version=1))
        self.assertFalse(self.register(A, consumer("g", "t", version=2)))
        self.assertEqual(self.consumers.find("g").subscriptions["t"].sub_version, 2)

    def test_an_older_subscription_of_a_late_member_is_ignored(self) -> None:
        self.register(A, consumer("g", "t", version=5))
        self.assertFalse(self.register(A, consumer("g", "t", version=4)))
        self.assertEqual(self.consumers.find("g").subscriptions["t"].sub_version, 5)

    def test_the_newest_heartbeat_decides_the_message_model_of_the_group(self) -> None:
        self.register(A, consumer("g", "t"))
        self.register(B, consumer("g", "t", model=MessageModel.BROADCASTING))
        self.assertEqual(self.consumers.find("g").message_model, MessageModel.BROADCASTING)

    def test_an_empty_group_is_forgotten_with_its_subscriptions(self) -> None:
        self.register(A, consumer("g", "t"))
        self.assertFalse(self.consumers.unregister("g", A))
        self.assertIsNone(self.consumers.find("g"))
        self.assertEqual(self.consumers.client_ids("g"), [])

    def test_unregistering_a_stranger_still_reports_that_members_remain(self) -> None:
        self.register(A, consumer("g", "t"))
        self.assertTrue(self.consumers.unregister("g", B))
        self.assertFalse(self.consumers.unregister("nobody", B))

    def test_a_lost_connection_leaves_all_its_groups_and_names_those_with_members_left(self) -> None:
        self.register(A, consumer("g", "t"))
        self.register(A, consumer("h", "t"))
        self.register(B, consumer("h", "t"))
        self.assertEqual(self.consumers.forget(A), ["h"])
        self.assertEqual(self.consumers.forget(A), [])

    def test_client_ids_come_once_each_in_the_order_of_joining(self) -> None:
        for peer, name in ((B, "two"), (A, "one"), (C, "two")):
            self.consumers.register(client(peer, name), consumer("g", "t"))
        self.assertEqual(self.consumers.client_ids("g"), ["two", "one"])
        self.assertIs(self.consumers.connection_of("g", "one").peer, A)
        self.assertIsNone(self.consumers.connection_of("g", "three"))

    def test_groups_are_found_by_topic(self) -> None:
        self.register(A, consumer("g", "t", "u"))
        self.register(B, consumer("h", "u"))
        self.assertEqual(self.consumers.groups_subscribed_to("u"), ["g", "h"])
        self.assertEqual(self.consumers.groups_subscribed_to("t"), ["g"])


class ProducerConnections(SynchronousTestCase):
    def test_a_client_id_is_reachable_until_its_connection_goes(self) -> None:
        producers = Producers()
        self.assertTrue(producers.register("g", client(A, "one")))
        self.assertFalse(producers.register("g", client(A, "one")))
        self.assertIs(producers.peer_of("one"), A)
        producers.forget(A)
        self.assertIsNone(producers.peer_of("one"))
        self.assertNotIn("g", producers.members)

    def test_the_loss_of_an_old_connection_keeps_the_new_one_of_the_same_client(self) -> None:
        producers = Producers()
        producers.register("g", client(A, "one"))
        producers.register("g", client(B, "one"))
        producers.forget(A)
        self.assertIs(producers.peer_of("one"), B)
        self.assertEqual(list(producers.members.of("g")), [B])

    def test_a_client_stays_reachable_when_one_of_its_producers_ends(self) -> None:
        """Replies to requests of its other producers come over the same connection."""
        producers = Producers()
        for group in ("one", "two"):
            producers.register(group, client(A, "me"))
        producers.unregister("one", A)
        self.assertIs(producers.peer_of("me"), A)
        producers.unregister("two", A)
        self.assertIsNone(producers.peer_of("me"))

    def test_unregistering_names_one_group_only(self) -> None:
        producers = Producers()
        producers.register("g", client(A))
        producers.register("h", client(A))
        producers.unregister("g", A)
        producers.unregister("unknown", A)
        self.assertEqual(list(producers.members), ["h"])


class Expiry(SynchronousTestCase):
    def setUp(self) -> None:
        self.producers, self.consumers = Producers(), Consumers()
        self.scan = ExpiryScan(self.producers, self.consumers, started_at_s=0.0)

    def scan_until(self, end_s: float) -> list[Any]:
        found = []
        now_s = 0.0
        while now_s < end_s:
            now_s += EXPIRY_SCAN_INTERVAL_S
            found.append(self.scan.scan(now_s))
        return found

    def test_a_client_is_dropped_once_it_was_silent_for_two_minutes(self) -> None:
        self.consumers.register(client(A, seen_at_s=1.0), consumer("g", "t"))
        self.producers.register("p", client(A, seen_at_s=1.0))
        *before, last = self.scan_until(CLIENT_EXPIRED_S + EXPIRY_SCAN_INTERVAL_S)
        self.assertEqual([scan.silent_peers for scan in before], [[]] * len(before))
        self.assertEqual(last.silent_peers, [A])
        self.assertEqual(last.changed_groups, [])
        self.assertIsNone(self.consumers.find("g"))

    def test_the_rest_of_the_group_is_named_so_that_it_can_share_out_the_queues(self) -> None:
        self.consumers.register(client(A, seen_at_s=1.0), consumer("g", "t"))
        self.consumers.register(client(B, seen_at_s=100.0), consumer("g", "t"))
        self.assertEqual(self.scan_until(130.0)[-1].changed_groups, ["g"])
        self.assertEqual(self.consumers.client_ids("g"), ["id-b"])

    def test_a_connection_that_beats_for_another_group_stays_open(self) -> None:
        self.consumers.register(client(A, seen_at_s=1.0), consumer("gone", "t"))
        self.consumers.register(client(A, seen_at_s=100.0), consumer("alive", "t"))
        self.assertEqual(self.scan_until(130.0)[-1].silent_peers, [])
        self.assertIsNone(self.consumers.find("gone"))
        self.assertIsNotNone(self.consumers.find("alive"))

    def test_after_a_stop_of_the_process_waiting_heartbeats_are_heard_first(self) -> None:
        self.consumers.register(client(A, seen_at_s=1.0), consumer("g", "t"))
        self.assertEqual(self.scan.scan(500.0).silent_peers, [])
        self.assertEqual(self.scan.scan(510.0).silent_peers, [A])


Steps = st.lists(
    st.tuples(st.sampled_from("+-x"), st.sampled_from("gh"), st.sampled_from([A, B, C])), max_size=40
)


class MembersByGroupAndByConnection(SynchronousTestCase):
    @given(Steps)
    def test_both_views_agree_whatever_happens(self, steps: list[tuple[str, str, Any]]) -> None:
        members, model = GroupMembers(), set()
        for action, group, peer in steps:
            if action == "+":
                self.assertEqual(members.add(group, client(peer)), (group, peer) not in model)
                model.add((group, peer))
            elif action == "-":
                self.assertEqual(members.remove(group, peer) is not None, (group, peer) in model)
                model.discard((group, peer))
            else:
                for its_group in members.groups_of(peer):
                    members.remove(its_group, peer)
                model = {pair for pair in model if pair[1] is not peer}
            self.assertEqual({(g, p) for g in members for p in members.of(g)}, model)
            self.assertEqual({(g, p) for p in (A, B, C) for g in members.groups_of(p)}, model)
            self.assertEqual({p for p in (A, B, C) if members.knows(p)}, {p for _, p in model})
