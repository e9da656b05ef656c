"""How many checks a producer may have unanswered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.check_window import OUTSTANDING_MAX, SILENCE_S, SILENT_MAX, CheckWindow

JAVAS_QUEUE = 2000


class CheckWindowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.window = CheckWindow()

    def ask(self, numbers: range, now_s: float = 0.0) -> None:
        for number in numbers:
            self.window.asked(number, now_s)

    def test_so_many_are_out_at_most(self) -> None:
        self.assertLess(OUTSTANDING_MAX, JAVAS_QUEUE)
        self.ask(range(OUTSTANDING_MAX - 1))
        self.assertEqual(self.window.room, 1)
        self.ask(range(OUTSTANDING_MAX - 1, OUTSTANDING_MAX))
        self.assertEqual(self.window.room, 0)

    def test_an_answer_makes_room_once(self) -> None:
        self.ask(range(OUTSTANDING_MAX))
        self.assertEqual(self.window.answered(7, 1.0), (7,))
        self.assertEqual(self.window.room, 1)
        self.assertEqual(self.window.answered(7, 1.0), ())
        self.assertEqual(self.window.answered(9999, 1.0), ())
        self.assertEqual(self.window.room, 1)

    def test_who_is_slow_but_answers_is_left_alone(self) -> None:
        self.ask(range(OUTSTANDING_MAX))
        for second in range(1, 300):
            self.window.answered(second, float(second))
            self.assertEqual(self.window.lost_in_silence(float(second)), [])
        self.assertEqual(self.window.room, 299)

    def test_silence_means_that_what_is_out_got_lost_and_less_is_asked(self) -> None:
        self.ask(range(OUTSTANDING_MAX))
        self.assertEqual(self.window.lost_in_silence(SILENCE_S - 0.1), [])
        self.assertEqual(self.window.lost_in_silence(SILENCE_S), list(range(OUTSTANDING_MAX)))
        self.assertEqual(self.window.room, SILENT_MAX)
        for step in range(2, 6):
            self.ask(range(self.window.room), SILENCE_S * (step - 1))
            self.window.lost_in_silence(SILENCE_S * step)
            self.assertEqual(self.window.room, SILENT_MAX)

    def test_in_ten_minutes_of_silence_no_more_comes_than_a_java_client_queues(self) -> None:
        asked = 0
        for second in range(600):
            self.window.lost_in_silence(float(second))
            room = self.window.room
            self.ask(range(asked, asked + room), float(second))
            asked += room
        self.assertLess(asked, JAVAS_QUEUE)

    def test_who_answers_again_is_asked_more_again(self) -> None:
        self.ask(range(OUTSTANDING_MAX))
        self.window.lost_in_silence(SILENCE_S)
        for number in range(5):
            self.window.asked(number, SILENCE_S)
            self.window.answered(number, SILENCE_S + 1)
        self.assertTrue(self.window.is_as_new)

    def test_an_answer_to_a_later_check_tells_that_a_much_earlier_one_is_lost(self) -> None:
        self.window.asked(1, 0.0)
        self.window.asked(2, SILENCE_S - 1)
        self.window.asked(3, SILENCE_S + 1)
        self.assertEqual(self.window.answered(3, SILENCE_S + 2), (3, 1))
        self.assertEqual(self.window.outstanding, [2])

    @given(
        st.lists(
            st.tuples(st.sampled_from(["ask", "answer", "look"]), st.integers(0, 50), st.floats(0, 20)),
            max_size=200,
        )
    )
    def test_it_never_forgets_what_it_does_not_say(self, steps: list[tuple[str, int, float]]) -> None:
        """What was asked is out, was answered, or was said to be lost: so whoever keeps a list can follow."""
        window, out, now_s, number = CheckWindow(3), set[int](), 0.0, 0
        for step, which, seconds in steps:
            now_s += seconds
            if step == "ask" and window.room:
                window.asked(number, now_s)
                out.add(number)
                number += 1
            elif step == "answer":
                out -= set(window.answered(which, now_s))
            else:
                out -= set(window.lost_in_silence(now_s))
            self.assertEqual(set(window.outstanding), out)
            self.assertLessEqual(len(out), OUTSTANDING_MAX)
            self.assertGreaterEqual(window.limit, 1)
