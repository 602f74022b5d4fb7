"""Budgets: what a hot path, a request or a commit may cost at most, as the file `bench/budgets.toml` has it.

Only counts are budgeted (instructions, system calls, flushes, bytes), since they repeat where times do not. A budget says by how
much a count may exceed it, and why it is what it is. A count far below its budget is no failure but news: the budget should
follow it, or the next loss of the same size goes unseen.
"""

import tomllib
from dataclasses import dataclass, replace

HEAD = """# What hot paths, requests and commits may cost at most: bench/budgets measures it and compares.
# `bench/budgets --refresh` writes the measured values into this file and keeps tolerances and reasons.
# measured > value * (1 + tolerance) fails; far below means that the budget should be lowered, but for a bound.
"""
FORMAT_DIGITS = {"instructions": 0}
DIGITS = 4
TOLERANCE_OF_NEW = 0.05


class BadBudgets(Exception):
    """The file says something that cannot be meant."""


@dataclass(frozen=True)
class Budget:
    # "<what is counted>/<of what>", as `counts` names it.
    name: str
    value: float
    # Share of the value that may be exceeded.
    tolerance: float
    reason: str
    # What it may be at its highest, where timing has a say in it: less is no news.
    is_bound: bool = False

    @property
    def most(self):
        return self.value * (1 + self.tolerance)

    @property
    def least(self):
        return 0 if self.is_bound else self.value * (1 - self.tolerance)


def load(text):
    """Budgets by name, in the order of the file."""
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadBudgets(f"not TOML: {error}") from None
    budgets = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) - {"bound"} != {"value", "tolerance", "reason"}:
            raise BadBudgets(f"{name}: value, tolerance and reason are expected, and perhaps bound")
        numbers = (entry["value"], entry["tolerance"])
        if not all(isinstance(number, (int, float)) and number >= 0 for number in numbers):
            raise BadBudgets(f"{name}: value and tolerance are numbers from 0")
        if not isinstance(entry["reason"], str) or not entry["reason"].strip():
            raise BadBudgets(f"{name}: no reason is given")
        if not isinstance(entry.get("bound", False), bool):
            raise BadBudgets(f"{name}: bound is true or false")
        budgets[name] = Budget(name, entry["value"], entry["tolerance"], entry["reason"], entry.get("bound", False))
    return budgets


def dump(budgets):
    parts = [HEAD]
    for budget in budgets:
        digits = FORMAT_DIGITS.get(budget.name.split("/")[0], DIGITS)
        reason = budget.reason.replace("\\", "\\\\").replace('"', '\\"')
        bound = "bound = true\n" if budget.is_bound else ""
        parts.append(
            f'["{budget.name}"]\nvalue = {budget.value:.{digits}f}\ntolerance = {budget.tolerance:g}\n{bound}reason = "{reason}"\n'
        )
    return "\n".join(parts)


@dataclass(frozen=True)
class Verdict:
    name: str
    measured: float
    budget: Budget | None
    # ok, below, OVER, NEW (measured, no budget), GONE (a budget for what is not measured any more).
    word: str

    @property
    def fails(self):
        return self.word in ("OVER", "NEW", "GONE")


def judge(budgets, counts, chosen=None):
    """`counts`: what was measured, by name. `chosen`: whether a budget was to be measured at all."""
    verdicts = []
    for name, measured in counts.items():
        budget = budgets.get(name)
        if budget is None:
            word = "NEW"
        elif measured > budget.most:
            word = "OVER"
        else:
            word = "below" if measured < budget.least else "ok"
        verdicts.append(Verdict(name, measured, budget, word))
    for name, budget in budgets.items():
        if name not in counts and (chosen is None or chosen(name)):
            verdicts.append(Verdict(name, float("nan"), budget, "GONE"))
    return verdicts


def refreshed(budgets, counts, chosen=None):
    """The budgets with the measured values; what is not measured any more goes, unless it was not to be measured."""
    kept = []
    for name, budget in budgets.items():
        if name in counts:
            holds = budget.is_bound and counts[name] <= budget.most
            kept.append(budget if holds else replace(budget, value=counts[name]))
        elif chosen is not None and not chosen(name):
            kept.append(budget)
    new = [name for name in counts if name not in budgets]
    return kept + [Budget(name, counts[name], TOLERANCE_OF_NEW, "as measured") for name in new]


def lowered(budgets, percent):
    """As if each budget were lower by so much, to show that a budget can fail."""
    return {name: replace(budget, value=budget.value * (1 - percent / 100)) for name, budget in budgets.items()}
