"""The route table alone: values in, values out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.namesrv.route_table import Registration, RouteTable
from rocketmq_tx.protocol.bodies import DataVersion, TopicConfig

ADDRESS = "10.0.0.1:10911"
SLAVE = "10.0.0.2:10911"


def broker(
    *topics: str | TopicConfig,
    address: str = ADDRESS,
    broker_id: int = 0,
    name: str = "broker-a",
    cluster: str = "c",
    version: int = 1,
    silent: bool = False,
    epoch: int = 0,
) -> Registration:
    configs = [topic if isinstance(topic, TopicConfig) else TopicConfig(topic, 4, 4, 6) for topic in topics]
    table = None if silent else {config.topic_name: config for config in configs}
    return Registration(
        cluster, name, broker_id, address, f"{address}-ha", DataVersion(1000, version), table, epoch
    )


class RegisteringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = RouteTable()

    def register(self, *topics, connection: object = None, now_ms: int = 0, **more):
        return self.routes.register(broker(*topics, **more), connection, now_ms)

    def test_topics_of_a_master_are_routed_those_of_a_slave_are_not(self) -> None:
        self.register("orders")
        self.register("orders", "slave-only", address=SLAVE, broker_id=1)
        [data], [queues] = self.routes.route("orders")
        self.assertEqual(data.broker_addrs, {0: ADDRESS, 1: SLAVE})
        self.assertEqual((queues.broker_name, queues.read_queue_nums, queues.perm), ("broker-a", 4, 6))
        self.assertIsNone(self.routes.route("slave-only"))

    def test_a_slave_is_told_its_master_once_there_is_one(self) -> None:
        early = self.register(address=SLAVE, broker_id=1)
        self.assertEqual((early.master_address, early.ha_address), (None, None))
        self.register()
        late = self.register(address=SLAVE, broker_id=1)
        self.assertEqual((late.master_address, late.ha_address), (ADDRESS, f"{ADDRESS}-ha"))

    def test_of_two_masters_the_one_of_the_newer_epoch_stays(self) -> None:
        """Rows 29 and 37 of the faults."""
        self.register("orders")
        self.register("orders", address=SLAVE, broker_id=1)
        self.assertEqual(self.register("orders", address=SLAVE, epoch=1).displaced, ADDRESS)
        for epoch in (0, 0):
            outdated = self.register("orders", "more", version=2, epoch=epoch)
            self.assertTrue(outdated.outdated)
            self.assertEqual((outdated.master_address, outdated.ha_address), (SLAVE, f"{SLAVE}-ha"))
        [data], _ = self.routes.route("orders")
        self.assertEqual((data.broker_addrs, self.routes.topics()), ({0: SLAVE}, ["orders"]))
        self.assertEqual(self.register(broker_id=1, epoch=1).master_address, SLAVE)
        self.assertEqual(self.register(epoch=2).displaced, SLAVE)

    def test_a_master_of_an_older_epoch_is_better_than_none(self) -> None:
        self.register("orders", address=SLAVE, epoch=3)
        self.routes.remove(SLAVE)
        self.assertFalse(self.register("orders").outdated)
        self.assertEqual(self.routes.route("orders")[0][0].broker_addrs, {0: ADDRESS})

    def test_a_changed_version_adds_and_replaces_only(self) -> None:
        self.register("a", "b")
        self.register(TopicConfig("b", 8, 8, 4), "c", version=2)
        self.assertEqual(sorted(self.routes.topics()), ["a", "b", "c"])
        self.assertEqual(self.routes.route("b")[1][0].write_queue_nums, 8)

    def test_a_repeated_version_is_complete_so_missing_topics_go(self) -> None:
        self.register("a", "b")
        self.register("a", "b", "new")
        self.assertEqual(sorted(self.routes.topics()), ["a", "b"])  # same version: nothing is added
        self.register("a")
        self.assertEqual(self.routes.topics(), ["a"])

    def test_a_repeated_version_of_one_broker_leaves_the_others_queues_alone(self) -> None:
        self.register("a", "b")
        self.register("a", "b", name="broker-b", address="10.0.0.9:1")
        self.register("a")
        self.assertEqual([queues.broker_name for queues in self.routes.route("b")[1]], ["broker-b"])

    def test_a_registration_that_says_nothing_of_topics_removes_none(self) -> None:
        self.register("a")
        self.register(silent=True)
        self.assertEqual(self.routes.topics(), ["a"])

    def test_a_broker_that_comes_back_brings_its_topics_even_with_the_same_version(self) -> None:
        self.register("a")
        self.routes.remove(ADDRESS)
        self.assertIsNone(self.routes.route("a"))
        self.register("a")
        self.assertIsNotNone(self.routes.route("a"))

    def test_an_address_has_one_id_and_a_slave_that_becomes_master_moves(self) -> None:
        self.register("a", address=SLAVE, broker_id=1)
        self.register("a", address=SLAVE, broker_id=0)
        self.assertEqual(self.routes.route("a")[0][0].broker_addrs, {0: SLAVE})

    def test_the_later_of_two_that_claim_one_id_wins_and_the_other_is_named(self) -> None:
        self.register("a")
        moved = self.register("a", address="10.0.0.7:10911")
        self.assertEqual(moved.displaced, ADDRESS)
        self.assertEqual(self.routes.route("a")[0][0].broker_addrs, {0: "10.0.0.7:10911"})
        self.assertEqual(self.register("a").displaced, "10.0.0.7:10911")
        self.assertIsNone(self.register("a").displaced)

    def test_taking_over_from_one_that_has_gone_is_no_dispute(self) -> None:
        self.register("a")
        self.register("a", address=SLAVE, broker_id=1)
        self.routes.remove(ADDRESS)
        self.assertIsNone(self.register("a", address="10.0.0.7:10911").displaced)

    def test_who_was_displaced_cannot_unregister_or_lose_the_new_one(self) -> None:
        self.register("a", connection="old")
        self.register("a", address="10.0.0.7:10911", connection="new")
        self.routes.unregister("broker-a", 0, ADDRESS)
        self.assertEqual(self.routes.addresses_of("old"), [])
        self.routes.remove(ADDRESS)
        self.assertEqual(self.routes.route("a")[0][0].broker_addrs, {0: "10.0.0.7:10911"})

    def test_a_broker_that_changes_its_cluster_leaves_the_old_one(self) -> None:
        self.register("a")
        self.register("a", cluster="d")
        self.assertEqual(self.routes.cluster_info().cluster_addr_table, {"d": ["broker-a"]})
        self.assertEqual(self.routes.route("a")[0][0].cluster, "d")

    def test_ids_are_listed_in_their_order(self) -> None:
        self.register(address=SLAVE, broker_id=2)
        self.register("a")
        self.assertEqual(list(self.routes.route("a")[0][0].broker_addrs), [0, 2])


class LifeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = RouteTable()
        self.routes.register(broker("a"), "connection", 1_000)

    def test_silence_is_counted_from_the_last_registration_or_question(self) -> None:
        self.assertEqual(list(self.routes.silent_since(1_000)), [])
        self.assertEqual(list(self.routes.silent_since(1_001)), [ADDRESS])
        self.routes.heard(ADDRESS, 5_000)
        self.assertEqual(list(self.routes.silent_since(5_000)), [])
        self.routes.heard("unknown:1", 9_000)

    def test_a_lost_connection_is_that_of_the_last_registration(self) -> None:
        self.routes.register(broker("a"), "newer connection", 2_000)
        self.assertEqual(self.routes.addresses_of("connection"), [])
        self.assertEqual(self.routes.addresses_of("newer connection"), [ADDRESS])

    def test_with_the_master_gone_routes_stay_while_a_slave_is_left(self) -> None:
        self.routes.register(broker(address=SLAVE, broker_id=1), None, 0)
        self.routes.remove(ADDRESS)
        self.assertEqual(self.routes.route("a")[0][0].broker_addrs, {1: SLAVE})
        self.routes.unregister("broker-a", 1, SLAVE)
        self.assertIsNone(self.routes.route("a"))
        self.assertEqual(self.routes.topics(), [])
        info = self.routes.cluster_info()
        self.assertEqual((info.broker_addr_table, info.cluster_addr_table), ({}, {}))

    def test_removing_what_is_unknown_changes_nothing(self) -> None:
        self.routes.remove("unknown:1")
        self.routes.unregister("broker-z", 0, "unknown:1")
        self.routes.unregister("broker-a", 7, ADDRESS + "0")
        self.assertIsNotNone(self.routes.route("a"))


class PermissionAndListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = RouteTable()
        self.routes.register(
            broker(TopicConfig("a", 4, 4, 7), TopicConfig("unit", 1, 1, 6, topic_sys_flag=1)), None, 0
        )
        self.routes.register(
            broker(
                "a", TopicConfig("sub", 1, 1, 6, topic_sys_flag=2), TopicConfig("both", 1, 1, 6, None, 3),
                name="broker-b", address="10.0.0.9:1", cluster="d",
            ), None, 0,
        )  # fmt: skip

    def perms(self) -> dict[str, int]:
        return {queues.broker_name: queues.perm for queues in self.routes.route("a")[1]}

    def test_wiping_takes_w_from_one_broker_until_its_topics_change(self) -> None:
        self.assertEqual(self.routes.wipe_write_permission("broker-a"), 2)
        self.assertEqual(self.perms(), {"broker-a": 5, "broker-b": 6})
        self.routes.register(broker(TopicConfig("a", 4, 4, 7)), None, 0)
        self.assertEqual(self.perms()["broker-a"], 5)
        self.routes.register(broker(TopicConfig("a", 4, 4, 7), version=2), None, 0)
        self.assertEqual(self.perms()["broker-a"], 7)

    def test_adding_sets_exactly_rw(self) -> None:
        self.assertEqual(self.routes.add_write_permission("broker-a"), 2)
        self.assertEqual(self.perms(), {"broker-a": 6, "broker-b": 6})
        self.assertEqual(self.routes.add_write_permission("nobody"), 0)

    def test_a_topic_is_deleted_everywhere_or_in_one_cluster(self) -> None:
        self.routes.delete_topic("a", "d")
        self.assertEqual(list(self.perms()), ["broker-a"])
        self.routes.delete_topic("a", "unknown")
        self.routes.delete_topic("a")
        self.assertIsNone(self.routes.route("a"))
        self.routes.delete_topic("a")

    def test_lists_name_topics_by_cluster_and_flag(self) -> None:
        self.assertEqual(sorted(self.routes.topics()), ["a", "both", "sub", "unit"])
        self.assertEqual(sorted(self.routes.topics_of_cluster("d")), ["a", "both", "sub"])
        self.assertEqual(self.routes.topics_of_cluster("unknown"), [])
        self.assertEqual(self.routes.system_topics(), (["c", "broker-a", "d", "broker-b"], ADDRESS))
        self.assertEqual(sorted(self.routes.topics_flagged(1)), ["both", "unit"])
        self.assertEqual(sorted(self.routes.topics_flagged(2)), ["both", "sub"])
        self.assertEqual(self.routes.topics_flagged(2, 1), ["sub"])

    def test_an_empty_table_answers_everything(self) -> None:
        empty = RouteTable()
        self.assertEqual((empty.system_topics(), empty.topics()), (([], None), []))


events = st.lists(
    st.tuples(
        st.sampled_from(["register", "unregister", "remove", "delete"]),
        st.sampled_from(["broker-a", "broker-b"]),
        st.integers(0, 2),
        st.sampled_from(["1:1", "2:2", "3:3", "4:4"]),
        st.sampled_from(["c", "d"]),
        st.integers(1, 2),
        st.sets(st.sampled_from(["x", "y", "z"])),
    ),
    max_size=40,
)


class ConsistencyTests(SynchronousTestCase):
    @settings(max_examples=300)
    @given(events)
    def test_whatever_happens_the_four_tables_agree(self, plan) -> None:
        routes = RouteTable()
        for verb, name, broker_id, address, cluster, version, topics in plan:
            if verb == "register":
                routes.register(
                    broker(*topics, name=name, broker_id=broker_id, address=address, cluster=cluster,
                           version=version), None, 0)  # fmt: skip
            elif verb == "unregister":
                routes.unregister(name, broker_id, address)
            elif verb == "remove":
                routes.remove(address)
            else:
                routes.delete_topic("x", cluster)
            self.check(routes)

    def check(self, routes: RouteTable) -> None:
        info = routes.cluster_info()
        in_clusters = [name for names in info.cluster_addr_table.values() for name in names]
        self.assertEqual(sorted(in_clusters), sorted(info.broker_addr_table))
        for name, data in info.broker_addr_table.items():
            self.assertTrue(data.broker_addrs)
            self.assertIn(name, info.cluster_addr_table[data.cluster])
            self.assertEqual(len(set(data.broker_addrs.values())), len(data.broker_addrs))
        for topic in routes.topics():
            self.assertIsNotNone(routes.route(topic))
            self.assertEqual(
                {queues.broker_name for queues in routes.route(topic)[1]},
                {data.broker_name for data in routes.route(topic)[0]},
            )
