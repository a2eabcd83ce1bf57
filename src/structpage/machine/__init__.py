"""`Machine`: Linux's page allocator as its user sees it.

From the ground up: `state` (buffers, and the sizes of zones), `view` (tables, texts and pictures), `asked` (arguments
and errors), `calls` (the calls themselves). Beside them `start` and `layout` (a start from /proc files), `proc` (the
texts), `events` and `check`.
"""

from __future__ import annotations

from structpage.machine.calls import Machine

__all__ = ["Machine"]
