"""Budgets: what is over, and what a refresh writes."""

import unittest

from side_by_side import budgets
from side_by_side.budgets import Budget

TEXT = """
["instructions/decode"]
value = 100
tolerance = 0.05
reason = "one \\"frame\\""

["flushes/set 1x1"]
value = 1.0
tolerance = 0
reason = "each commit is flushed"
"""


def words(counts, known=None, **more):
    known = budgets.load(TEXT) if known is None else known
    return {verdict.name: (verdict.word, verdict.fails) for verdict in budgets.judge(known, counts, **more)}


class BudgetsTest(unittest.TestCase):
    def test_within_tolerance_is_fine_and_beyond_fails(self):
        exact = {"flushes/set 1x1": 1.0}
        for measured, expected in [(105, ("ok", False)), (105.1, ("OVER", True)), (95, ("ok", False)), (90, ("below", False))]:
            self.assertEqual(words({"instructions/decode": measured, **exact})["instructions/decode"], expected, measured)

    def test_a_lowered_budget_fails(self):
        measured = {"instructions/decode": 100, "flushes/set 1x1": 1.0}
        self.assertFalse(any(fails for _, fails in words(measured).values()))
        lower = budgets.lowered(budgets.load(TEXT), 10)
        self.assertEqual(words(measured, lower), {name: ("OVER", True) for name in measured})

    def test_what_has_no_budget_and_what_is_gone_fail(self):
        told = words({"instructions/other": 5})
        self.assertEqual(told["instructions/other"], ("NEW", True))
        self.assertEqual(told["instructions/decode"], ("GONE", True))

    def test_what_was_not_to_be_measured_is_not_gone(self):
        told = words({"instructions/decode": 100}, chosen=lambda name: "instructions" in name)
        self.assertEqual(told, {"instructions/decode": ("ok", False)})

    def test_a_refresh_keeps_tolerance_reason_and_what_was_left_out(self):
        known = budgets.load(TEXT)
        counts = {"instructions/decode": 80.4, "instructions/other": 7}
        again = budgets.refreshed(known, counts, chosen=lambda name: "instructions" in name)
        read = budgets.load(budgets.dump(again))
        self.assertEqual(read["instructions/decode"], Budget("instructions/decode", 80, 0.05, 'one "frame"'))
        self.assertEqual(read["flushes/set 1x1"].value, 1.0)
        self.assertEqual(read["instructions/other"].value, 7)
        self.assertNotIn("flushes/set 1x1", [budget.name for budget in budgets.refreshed(known, counts)])

    def test_a_bound_is_kept_while_it_holds(self):
        known = budgets.load('["flushes/x"]\nvalue = 2.0\ntolerance = 0.5\nbound = true\nreason = "timing"\n')
        self.assertEqual(words({"flushes/x": 0.1}, known), {"flushes/x": ("ok", False)})
        self.assertEqual(words({"flushes/x": 3.1}, known), {"flushes/x": ("OVER", True)})
        self.assertEqual(budgets.refreshed(known, {"flushes/x": 0.1}), list(known.values()))
        read = budgets.load(budgets.dump(budgets.refreshed(known, {"flushes/x": 3.1})))
        self.assertEqual((read["flushes/x"].value, read["flushes/x"].is_bound), (3.1, True))

    def test_nonsense_in_the_file_is_named(self):
        for text, named in [
            ("[", "TOML"),
            ('["a"]\nvalue = 1', "a: value, tolerance and reason"),
            ('["a"]\nvalue = -1\ntolerance = 0\nreason = "x"', "a: value and tolerance are"),
            ('["a"]\nvalue = 1\ntolerance = 0\nbound = 3\nreason = "x"', "a: bound"),
            ('["a"]\nvalue = 1\ntolerance = 0\nreason = " "', "a: no reason"),
            ("a = 1", "a: value, tolerance and reason"),
        ]:
            with self.assertRaisesRegex(budgets.BadBudgets, named):
                budgets.load(text)


if __name__ == "__main__":
    unittest.main()
