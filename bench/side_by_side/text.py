"""How figures and tables are written."""

import statistics


def spread(values, digits):
    """Median, and the lowest and highest where there is more than one."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def aligned(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(len(line) for line in lines), *lines[1:]])


def at_most(what, measured, most):
    return [what, f"at most {most}", f"{measured:,.1f}", "met" if measured <= most else "MISSED"]


def goal_table(goals):
    return "\n\nGoals\n\n" + aligned([["what", "goal", "measured", ""], *goals]) if goals else ""
