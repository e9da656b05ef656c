"""Values are read strictly: what is not understood is refused, never guessed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config import values
from rocketmq_tx.config.addresses import format_address, parse_address, parse_addresses
from rocketmq_tx.config.host_facts import choose_local_address
from rocketmq_tx.config.values import (
    Boolean,
    BrokerRole,
    Choice,
    DelayLevels,
    Host,
    Hours,
    Name,
    Text,
    WholeNumber,
)


class ValueTypeTests(SynchronousTestCase):
    def assertRefused(self, value_type: values.ValueType, *texts: str) -> None:
        for text in texts:
            self.assertRaises(ValueError, value_type.parse, text)

    @given(st.integers(-(2**31), 2**31 - 1))
    def test_every_int_of_java_is_read(self, number: int) -> None:
        self.assertEqual(WholeNumber().parse(str(number)), number)

    def test_numbers_out_of_range_are_refused(self) -> None:
        self.assertRefused(WholeNumber(), str(2**31), "9" * 30)
        self.assertRefused(WholeNumber(long=True), str(2**63))
        self.assertRefused(WholeNumber(0, 65535), "-1", "65536")

    def test_only_decimal_digits_make_a_number(self) -> None:
        self.assertRefused(WholeNumber(), "", "abc", "1_000", "0x10", "1.0", "1 0", "\u0663", "1m")
        self.assertEqual(WholeNumber().parse("+5"), 5)

    def test_a_number_says_what_it_expects(self) -> None:
        self.assertEqual(WholeNumber().expected, "a whole number of 32 bits")
        self.assertEqual(WholeNumber(long=True).expected, "a whole number of 64 bits")
        self.assertEqual(WholeNumber(0).expected, "a whole number of at least 0")
        self.assertEqual(WholeNumber(0, 7).expected, "a whole number from 0 to 7")

    def test_an_empty_value_unsets_what_need_not_be_set(self) -> None:
        self.assertIsNone(WholeNumber(1, 9, nullable=True).parse(""))
        self.assertIsNone(Text(nullable=True).parse(""))
        self.assertIsNone(Host(nullable=True).parse(""))
        self.assertEqual(Text().parse(""), "")

    def test_booleans_are_true_or_false_in_any_case(self) -> None:
        self.assertEqual([Boolean().parse(text) for text in ("true", "TRUE", "False")], [True, True, False])
        self.assertRefused(Boolean(), "yes", "1", "")

    def test_a_choice_names_its_alternatives(self) -> None:
        roles = Choice(BrokerRole)
        self.assertIs(roles.parse("SLAVE"), BrokerRole.SLAVE)
        self.assertEqual(roles.expected, "ASYNC_MASTER, SYNC_MASTER or SLAVE")
        self.assertRefused(roles, "slave", "NOPE")

    def test_masters_are_told_from_slaves(self) -> None:
        self.assertEqual([role.is_master for role in BrokerRole], [True, True, False])

    def test_a_host_has_no_port(self) -> None:
        for text in ("192.0.2.10", "broker.example", "2001:db8::1", "[2001:db8::1]", "fe80::1%eth0"):
            self.assertEqual(Host().parse(text), text)
        self.assertRefused(Host(), "", "192.0.2.10:10911", "a b", "[::1", "http://x")

    def test_a_name_has_no_blanks(self) -> None:
        self.assertEqual(Name().parse("broker-a"), "broker-a")
        self.assertRefused(Name(), "", "broker a")

    def test_delay_levels_are_numbers_with_units(self) -> None:
        self.assertEqual(DelayLevels().parse("1s 2m 3h 4d"), "1s 2m 3h 4d")
        self.assertEqual(values.delay_levels_ms("1s 2m 3h 4d"), (1_000, 120_000, 10_800_000, 345_600_000))
        self.assertRefused(DelayLevels(), "", "1", "1w", "s", "1s,2s")

    def test_hours_are_those_of_a_day(self) -> None:
        self.assertEqual(Hours().parse("04"), "04")
        self.assertEqual(values.hours_of_day("03; 15;"), frozenset({3, 15}))
        self.assertRefused(Hours(), "", "24", "four", ";")

    def test_the_type_follows_from_the_default(self) -> None:
        names = [values.value_type_of(default).name for default in (True, 1, "a", None, BrokerRole.SLAVE)]
        self.assertEqual(names, ["boolean", "int", "String", "String", "BrokerRole"])

    def test_an_unset_value_prints_as_nothing(self) -> None:
        self.assertEqual(Text(nullable=True).show(None), "")


class AddressTests(SynchronousTestCase):
    def test_hosts_and_ports_are_told_apart(self) -> None:
        self.assertEqual(parse_address("127.0.0.1:9876"), ("127.0.0.1", 9876))
        self.assertEqual(parse_address(" [::1]:10911 "), ("::1", 10911))
        self.assertEqual(parse_address("namesrv.example:1"), ("namesrv.example", 1))

    def test_what_is_no_address_is_refused(self) -> None:
        for text in ("localhost", "::1:9876", "a:b", "a:65536", ":9876", "a:", "a b:1"):
            self.assertRaises(ValueError, parse_address, text)

    def test_a_list_may_end_with_a_semicolon(self) -> None:
        self.assertEqual(parse_addresses("a:1; b:2;"), [("a", 1), ("b", 2)])
        self.assertEqual(parse_addresses(None), [])

    @given(st.sampled_from(["127.0.0.1", "::1", "a.b-c"]), st.integers(0, 65535))
    def test_a_written_address_reads_back(self, host: str, port: int) -> None:
        self.assertEqual(parse_address(format_address(host, port)), (host, port))

    def test_brackets_are_written_once(self) -> None:
        self.assertEqual(format_address("[::1]", 1), "[::1]:1")


class LocalAddressTests(SynchronousTestCase):
    def test_a_wide_address_is_preferred(self) -> None:
        self.assertEqual(
            choose_local_address(["127.0.0.1", "192.168.1.2", "10.0.0.5", "10.0.0.6"]), "10.0.0.5"
        )

    def test_the_last_private_one_is_second_choice(self) -> None:
        self.assertEqual(choose_local_address(["192.168.1.2", "192.168.1.3", "2001:db8::1"]), "192.168.1.3")

    def test_ipv6_is_third_and_gets_brackets(self) -> None:
        self.assertEqual(choose_local_address(["127.0.0.1", "2001:db8::1"]), "[2001:db8::1]")

    def test_without_any_this_machine_remains(self) -> None:
        self.assertEqual(choose_local_address([]), "127.0.0.1")
