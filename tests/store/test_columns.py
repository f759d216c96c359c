"""Records to Arrow and back, without a database."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.records import MBO_DTYPE
from mbo.schemas import dtype_of
from mbo.store import columns


def noise(dtype: np.dtype, count: int, seed: int) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(seed).bytes(count * dtype.itemsize), dtype).copy()


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_messages_come_back_bit_by_bit(count, seed):
    records = noise(MBO_DTYPE, count, seed)
    records["length"], records["rtype"] = 14, 0xA0
    batch = columns.message_rows(records, 7, np.arange(count, dtype=np.uint64))
    assert columns.to_messages(pa.Table.from_batches([batch])).tobytes() == records.tobytes()


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_mbp10_records_come_back_bit_by_bit(count, seed):
    records = noise(dtype_of("mbp-10"), count, seed)
    records["length"], records["rtype"] = 92, 0x0A
    numbers = np.arange(count, dtype=np.uint64)
    batch = columns.mbp10_rows([records[:1], records[1:]], 7, numbers, numbers)
    table = pa.concat_tables([pa.Table.from_batches([part]) for part in (batch.slice(0, 3), batch.slice(3))])
    assert columns.to_mbp10(table).tobytes() == records.tobytes()


@pytest.mark.parametrize(
    ("time", "day"),
    [(0, 0), (86_399_999_999_999, 0), (86_400_000_000_000, 1), (2**64 - 1, 0), (2**63, -106_751), (2**63 - 1, 106_751)],
)
def test_days_are_those_of_the_partitions(time, day):
    records = np.zeros(1, MBO_DTYPE)
    records["ts_recv"] = time
    assert columns.days(records).tolist() == [day]
