"""The live view of ``orris load``: a table while a person watches, and a line now and then otherwise.

The driver's event loop only puts each slice into a queue; a thread of its own draws.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from orris.cli.terminal import tell

if TYPE_CHECKING:
    from orris.loadtest import Slice, Target

N_LINES, N_BARS = 20, 40
_BLOCKS = "▁▂▃▄▅▆▇█"


@contextmanager
def watching(target: Target, seconds: float, warm_up_seconds: float) -> Iterator[Callable[[Slice], None]]:
    """Show a run while it goes on; yields the function that takes each slice, and returns at once."""
    queue: SimpleQueue[Slice | None] = SimpleQueue()
    what = f"{target.model or target.url}: {', '.join(route.name for route in target.routes)}"
    show = _table if sys.stderr.isatty() else _lines
    if warm_up_seconds and not sys.stderr.isatty():
        tell(f"… warming up for {warm_up_seconds:g} s")
    thread = threading.Thread(target=show, args=(queue, what, seconds, warm_up_seconds), daemon=True)
    thread.start()
    try:
        yield queue.put
    finally:
        queue.put(None)
        thread.join()


def _lines(queue: SimpleQueue[Slice | None], what: str, seconds: float, warm_up_seconds: float) -> None:
    """A line for every twentieth of the run, and at most one a second."""
    del what, warm_up_seconds
    from orris.loadtest import Part  # noqa: PLC0415

    gap, kept = max(1.0, seconds / N_LINES), []
    while (each := queue.get()) is not None:
        kept.append(each)
        if sum(one.seconds for one in kept) >= gap - 1e-6:
            end = each.begin_seconds + each.seconds
            tell(f"… {end:,.0f} s  {_words(Part.of(kept))}")
            kept = []


def _words(part: Any) -> str:
    from orris.loadtest.report import milliseconds  # noqa: PLC0415

    p50, p99 = (milliseconds(part.latency.quantile_seconds(quantile)) for quantile in (0.5, 0.99))
    return f"{part.throughput_per_second:,.0f} answered/s  p50 {p50} ms  p99 {p99} ms  {part.n_errors:,} errors"


def _table(queue: SimpleQueue[Slice | None], what: str, seconds: float, warm_up_seconds: float) -> None:
    """The last second, the whole run, and a bar for each slice."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    slices: list[Slice] = []
    title = f"{what}   Ctrl-C ends the run and keeps what was measured"
    begin = f"warming up for {warm_up_seconds:g} s …" if warm_up_seconds else "…"
    with Live(begin, console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        live.refresh()
        while (each := queue.get()) is not None:
            slices.append(each)
            if queue.empty():
                live.update(drawn(slices, title, seconds), refresh=True)


def drawn(slices: list[Slice], title: str, seconds: float) -> Any:
    """The view of these slices, for Rich."""
    from rich.table import Table  # noqa: PLC0415

    from orris.loadtest import Part  # noqa: PLC0415
    from orris.loadtest.report import milliseconds  # noqa: PLC0415

    now = slices[-1].begin_seconds + slices[-1].seconds
    last = Part.of(each for each in slices if each.begin_seconds >= now - 1 - 1e-6 or each is slices[-1])
    whole = Part.of(slices)
    table = Table(title=title, title_justify="left", caption_justify="left", caption=_bars(slices))
    for head in ("", "due/s", "answered/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "errors"):
        table.add_column(head, justify="left" if not head else "right")
    for name, part in ((f"{now:,.0f} of {seconds:,.0f} s", last), ("since the beginning", whole)):
        quantiles = (milliseconds(part.latency.quantile_seconds(quantile)) for quantile in (0.5, 0.9, 0.99, 0.999))
        rates = f"{part.offered_per_second:,.0f}", f"{part.throughput_per_second:,.0f}"
        table.add_row(name, *rates, *quantiles, f"{part.n_errors:,}")
    errors: Counter[str] = Counter(whole.errors)
    for kind, count in errors.most_common(4):
        table.add_row(f"  {kind}", "", "", "", "", "", "", f"{count:,}")
    return table


def _bars(slices: list[Slice]) -> str:
    """The 99th percentile of the last slices, the highest as a whole block."""
    values = [each.latency.quantile_seconds(0.99) if each.latency.count else 0.0 for each in slices[-N_BARS:]]
    top = max(values) or 1.0
    bars = "".join(_BLOCKS[min(7, int(value / top * 8))] for value in values)
    return f"p99 by slice, highest {top * 1e3:,.3g} ms  {bars}"
