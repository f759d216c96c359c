"""Analytics of market by order and by price: vectorised, Arrow in and out, each function with its formula and source.

What takes market by price, trades or lifetimes takes any Arrow stream of their columns; what takes a `day` takes `Records`, an
array of MBO records, or a table of them. All give a `pyarrow.Table`, which polars reads without a copy, in integers wherever the
result is one: prices int64 in units of 1e-9, sizes in contracts or shares, times in nanoseconds UTC. What is not there is null.

>>> import mbo
>>> from mbo import analytics
>>> day = mbo.read_dbn(mbo.SIMULATED).select("SIM1")
>>> analytics.bars(day.trades(), "1m").column_names[:7]
['ts', 'publisher_id', 'instrument_id', 'open', 'high', 'low', 'close']
"""

from __future__ import annotations

from mbo.analytics.bars import bars
from mbo.analytics.estimators import estimate_queue
from mbo.analytics.fills import fill_probability, time_to_fill
from mbo.analytics.micro import fit_microprice, microprice
from mbo.analytics.orders import lifetimes
from mbo.analytics.queues import estimator_errors, queue_position
from mbo.analytics.quotes import depth, order_flow_imbalance, quotes, tick_sizes
from mbo.analytics.trades import sign_trades, signing_accuracy

__all__ = [
    "bars", "depth", "estimate_queue", "estimator_errors", "fill_probability", "fit_microprice", "lifetimes", "microprice",
    "order_flow_imbalance", "queue_position", "quotes", "sign_trades", "signing_accuracy", "tick_sizes", "time_to_fill",
]  # fmt: skip
