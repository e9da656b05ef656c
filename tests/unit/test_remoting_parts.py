"""Addresses and the registry of handlers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import ConnectFailed, InvariantBroken
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.remoting.addresses import format_address, is_ip, is_ipv6, parse_address, plain_host
from rocketmq_tx.remoting.registry import Registry, Reply, serves, serves_runs


class AddressTests(SynchronousTestCase):
    def test_hosts_names_and_ipv6_are_read(self) -> None:
        self.assertEqual(parse_address("127.0.0.1:9876"), ("127.0.0.1", 9876))
        self.assertEqual(parse_address(" name.example:1 "), ("name.example", 1))
        self.assertEqual(parse_address("[::1]:65535"), ("::1", 65535))
        self.assertEqual(parse_address("::1:9876"), ("::1", 9876))

    def test_what_is_no_address_is_refused_by_a_sentence_with_the_text(self) -> None:
        for text in ("", "host", "host:", ":9876", "host:0", "host:65536", "host:-1", "host:9²", "host:x"):
            with self.assertRaises(ConnectFailed) as caught:
                parse_address(text)
            self.assertIn(repr(text), str(caught.exception))

    @given(st.ip_addresses(), st.integers(1, 65535))
    def test_writing_an_address_and_reading_it_gives_the_same(self, ip, port: int) -> None:
        self.assertEqual(parse_address(format_address(str(ip), port)), (str(ip), port))
        self.assertEqual((is_ip(str(ip)), is_ipv6(str(ip))), (True, ip.version == 6))

    def test_scopes_and_mapped_addresses_are_made_plain(self) -> None:
        self.assertEqual(plain_host("fe80::1%eth0"), "fe80::1")
        self.assertEqual(plain_host("::FFFF:10.0.0.1"), "10.0.0.1")
        self.assertEqual(plain_host("::ffff:a00:1"), "::ffff:a00:1")
        self.assertFalse(is_ip("localhost"))


class One:
    @serves(RequestCode.HEART_BEAT, RequestCode.LOCK_BATCH_MQ)
    def beat(self, peer, frame, header) -> Reply:
        return Reply()


class Other:
    @serves_runs(RequestCode.HEART_BEAT)
    def beats(self, peer, run) -> list:
        return []


class RegistryTests(SynchronousTestCase):
    def test_two_handlers_of_one_code_are_refused_and_both_named(self) -> None:
        with self.assertRaises(InvariantBroken) as caught:
            Registry(One(), Other())
        self.assertEqual(str(caught.exception), "HEART_BEAT is served by One.beat and by Other.beats")

    def test_a_handler_of_a_base_class_is_found_and_may_be_replaced_by_a_subclass(self) -> None:
        class Better(One):
            @serves(RequestCode.HEART_BEAT)
            def beat(self, peer, frame, header) -> Reply:
                return Reply()

        self.assertEqual(set(Registry(Better()).handlers), {RequestCode.HEART_BEAT})

    def test_it_lists_what_a_role_should_serve_and_nobody_does(self) -> None:
        unserved = Registry(One()).unserved("broker")
        self.assertIn(RequestCode.SEND_MESSAGE, unserved)
        self.assertNotIn(RequestCode.HEART_BEAT, unserved)
        self.assertNotIn(RequestCode.REGISTER_BROKER, unserved)
        self.assertIn(RequestCode.REGISTER_BROKER, Registry().unserved("namesrv"))
