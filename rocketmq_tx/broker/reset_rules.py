"""Where a group is to go on after a reset: values in, a value out."""

from __future__ import annotations


def reset_offset(kept: int, found: int, is_force: bool) -> int:
    """`kept` is the group's offset, `found` that of the time asked for; only force skips messages."""
    target = max(found, 0)
    return target if is_force or target < kept else kept
