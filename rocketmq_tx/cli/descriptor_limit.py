"""How many files and connections this process may have: a daemon takes all that it is allowed, as a JVM does.

Shells give 1,024 and allow many more: the soft limit is there for programs that cannot count further.
"""

from __future__ import annotations

import contextlib


def raise_descriptor_limit() -> None:
    """Raises the soft limit to the hard one. To be called before facts are collected; never fails."""
    try:
        import resource  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return
    with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" and does not give it
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
