"""Step through a stream that holds more than MBO records: live recordings carry system and symbol-mapping records too."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo._jit import kernel

DONE = 0  # all whole records of the bytes were read
BAD_LENGTH = 1  # a length byte that its rtype cannot have
UNKNOWN_RTYPE = 2

UNKNOWN = 0  # in `words_of`: there is no such rtype
ANY = 1  # its records differ in length


@kernel
def split(data: Any, words_of: Any, mbo: Any, ts_out: Any, others: Any) -> tuple[int, int, int, int]:
    """Copy the MBO records of `data` to `mbo` (uint8, 56 bytes a row) and the offsets of all others to `others` (int64).

    `words_of[rtype]` (uint8) is the length byte that this stream's records of an rtype have, or one of the two marks above. An
    MBO record's is 14, or 16 where a sending time follows, which then goes to `ts_out` (uint64). Stops before a record that is
    not whole, or when an output is full. Returns (status, offset, MBO records, others).
    """
    offset = 0
    n_mbo = 0
    n_others = 0
    while offset + 4 <= data.shape[0] and n_mbo < mbo.shape[0] and n_others < others.shape[0]:
        words = np.int64(data[offset])
        rtype = data[offset + 1]
        if words_of[rtype] == UNKNOWN:
            return UNKNOWN_RTYPE, offset, n_mbo, n_others
        if words < 4 or (words_of[rtype] != ANY and words_of[rtype] != words):
            return BAD_LENGTH, offset, n_mbo, n_others
        if offset + 4 * words > data.shape[0]:
            break
        if rtype == 0xA0:
            for k in range(56):
                mbo[n_mbo, k] = data[offset + k]
            mbo[n_mbo, 0] = 14
            if words > 14:
                sent = np.uint64(0)
                for k in range(8):
                    sent |= np.uint64(data[offset + 56 + k]) << np.uint64(8 * k)
                ts_out[n_mbo] = sent
            n_mbo += 1
        else:
            others[n_others] = offset
            n_others += 1
        offset += 4 * int(words)
    return DONE, offset, n_mbo, n_others
