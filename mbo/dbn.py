"""DBN files: the header by Databento's own library, the records as views of the file's bytes.

Decoding is skipping the header by its length and viewing the rest as 56-byte records: a plain file is mapped, a Zstandard one
is decompressed block by block, so memory does not grow with the file. Where something else stands between MBO records, the
stream is stepped by each record's length byte instead.
"""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo import symbols
from mbo.errors import DataError, FormatError, RecordError, TimeError, TruncatedError
from mbo.records import (
    MAPPING_DTYPE,
    MAPPING_V1_DTYPE,
    MBO_DTYPE,
    RTYPE_MBO,
    RTYPE_SYMBOL_MAPPING,
    RTYPES,
    RecordArray,
    as_records,
)

if TYPE_CHECKING:
    from databento_dbn import Metadata

Bytes = npt.NDArray[np.uint8]

BATCH_RECORDS: Final = 1 << 16
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE: Final = frozenset(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_PRELUDE_BYTES: Final = 8  # "DBN", version, length of the rest of the header
_MIN_HEADER_BYTES: Final = 120  # behind the prelude: the fixed part, and five counts of zero
_MAX_HEADER_BYTES: Final = 1 << 28
_MAX_RECORD_BYTES: Final = 255 * 4
_RELEASE_BYTES: Final = 1 << 24  # of a plain file, given back to the system at once
_LOAD_BYTES: Final = 1 << 22  # decompressed at a time
_SPARSE: Final = 512  # shorter runs of MBO records than this are stepped, not viewed
_ZSTD_PIECE_BYTES: Final = 1 << 12  # asked for at once: where one is not whole, nothing of it is given


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive MBO records of a stream.

    `first` is the number of `records[0]` among the stream's MBO records, from 0; `ts_out` their sending times (uint64 ns) where
    the stream has them; `read_bytes` how far into the file on disk the reader stood after it.
    """

    records: RecordArray
    first: int
    ts_out: npt.NDArray[np.uint64] | None = None
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DbnFile:
    """A DBN file of MBO records: its header; the records are read by `batches()`."""

    path: Path
    version: int
    metadata: Metadata
    header_bytes: int
    compressed: bool
    size_bytes: int
    """On disk."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one MBO record in this file: 56, or 64 where each is followed by its sending time."""
        return MBO_DTYPE.itemsize + (8 if self.metadata.ts_out else 0)

    def batches(self, skipped: Skipped | None = None) -> Iterator[Batch]:
        """Read the MBO records in file order, at most 65,536 at a time; what is not MBO is counted in `skipped`.

        Raises `RecordError` at a bad length byte or an unknown rtype and `TruncatedError` at an unfinished record, after all that
        stands before it was given; `TruncatedError` or `FormatError` at an unfinished or damaged zstd frame, where up to 68 KiB
        before it may be lost too. The error's `index` says how many records there were.
        """
        parser = _Parser(self, skipped if skipped is not None else Skipped())
        return parser.compressed() if self.compressed else parser.mapped()

    def whole(self) -> RecordArray | None:
        """View all records at once, where a plain file holds nothing but whole MBO records and no sending times; else None."""
        if self.compressed or self.metadata.ts_out:
            return None
        data, stride = np.frombuffer(_mapped(self), np.uint8)[self.header_bytes :], MBO_DTYPE.itemsize
        for start in range(0, len(data), _RELEASE_BYTES // stride * stride):
            part = data[start : start + _RELEASE_BYTES // stride * stride]
            if leading_mbo(part, stride) * stride < len(part):
                return None
            give_back(part)
        return as_records(data.view(MBO_DTYPE))

    def load(self) -> Bytes:
        """Read all that stands behind the header into memory, decompressed, whatever the records are."""
        if not self.compressed:
            return np.frombuffer(_mapped(self), np.uint8)[self.header_bytes :]
        reader, blocks = _ZstdReader(self.path), []
        while block := reader.read(_LOAD_BYTES):
            blocks.append(block)
        return np.frombuffer(b"".join(blocks), np.uint8)[self.header_bytes :]

    def symbol_map(self) -> symbols.SymbolMap:
        """Read which symbols the instrument ids stand for: from the header, or a live recording through for its mapping records."""
        try:
            found = symbols.from_metadata(self.metadata)
        except (ValueError, TimeError) as error:
            raise FormatError(f"{self.path} has a damaged header: {error}", path=str(self.path)) from None
        if found or self.metadata.schema is not None:  # in a live stream the schema is never said
            return found
        skipped = Skipped()
        for _ in self.batches(skipped):
            pass
        return symbols.SymbolMap(skipped.mappings)


@dataclass(slots=True)
class Skipped:
    """What a stream holds beside MBO records: counts by record type, and the symbol mappings among them."""

    counts: Counter[str] = field(default_factory=Counter)
    mappings: list[symbols.Mapping] = field(default_factory=list)


def open_file(path: str | Path) -> DbnFile:
    """Open a `.dbn` or `.dbn.zst` file of MBO records, whatever its name, by reading its header only.

    Raises `FormatError` where it is not DBN of version 1, 2 or 3 or holds another schema, `TruncatedError` where it ends within
    the header, `OSError` where it cannot be read.
    """
    file = open_any(path)
    if file.metadata.schema is not None and str(file.metadata.schema) != "mbo":
        sentence = f"{path} holds {file.metadata.schema} records, not mbo: no book can be built from it"
        raise FormatError(sentence, path=str(path))
    return file


def open_any(path: str | Path) -> DbnFile:
    """Open a DBN file of any schema, by reading its header only; its `batches()` are of use where that is mbo, else its `load()`.

    Raises as `open_file` does.
    """
    path = Path(path)
    if path.is_dir():
        raise FormatError(f"{path} is a directory: give a file, or a pattern like '{path}/*.dbn.zst'", path=str(path))
    with path.open("rb") as file:
        magic = file.read(4)
        compressed = magic == ZSTD_MAGIC or magic in ZSTD_SKIPPABLE
        file.seek(0)
        header = _read_header(_ZstdReader(path).read if compressed else file.read, path)
        size = path.stat().st_size
    return DbnFile(path, header[3], _decode_metadata(header, path), len(header), compressed, size)


def _read_header(read: Callable[[int], bytes], path: Path) -> bytes:
    prelude = read(_PRELUDE_BYTES)
    if not prelude:
        raise FormatError(f"{path} is empty", path=str(path))
    if prelude[:3] != b"DBN"[: len(prelude)]:
        raise FormatError(f"{path} is not a DBN file: it begins with {prelude[:4]!r}, not with b'DBN'", path=str(path))
    if len(prelude) > 3 and prelude[3] not in (1, 2, 3):
        raise FormatError(f"{path} is DBN version {prelude[3]}: only versions 1, 2 and 3 are known", path=str(path))
    length = int.from_bytes(prelude[4:], "little")
    if len(prelude) == _PRELUDE_BYTES and not _MIN_HEADER_BYTES <= length <= _MAX_HEADER_BYTES:
        raise FormatError(f"{path} has a damaged header: it claims to be {length:,} bytes long", path=str(path))
    rest = read(length) if len(prelude) == _PRELUDE_BYTES else b""
    if len(prelude) < _PRELUDE_BYTES or len(rest) < length:
        end = len(prelude) + len(rest)
        raise TruncatedError(f"{path} ends within its header, after {end} bytes", path=str(path), offset_bytes=end)
    return prelude + rest


def _decode_metadata(header: bytes, path: Path) -> Metadata:
    from databento_dbn import DBNError, Metadata

    try:
        return Metadata.decode(header)
    except BaseException as error:
        # The library is Rust's, and a panic there is no `Exception` here.
        if not isinstance(error, DBNError | ValueError) and type(error).__name__ != "PanicException":
            raise
        raise FormatError(f"{path} has a damaged header: {error}", path=str(path)) from None


def _mapped(file: DbnFile) -> mmap.mmap:
    with file.path.open("rb") as plain:
        if os.fstat(plain.fileno()).st_size < file.header_bytes:  # an empty one cannot even be mapped
            raise TruncatedError(f"{file.path} has become shorter than its header", path=str(file.path))
        return mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ)


def give_back(view: npt.NDArray[Any]) -> None:
    """Let the system have the pages under a view of a mapped file, which count as this process's memory once they were read.

    They come again from the file whenever somebody looks at them. Nothing happens where the memory is no file's, or can be written.
    """
    base: Any = view
    while isinstance(base, np.ndarray):
        base = base.base
    pages = base.obj if isinstance(base, memoryview) else base
    if not isinstance(pages, mmap.mmap) or not len(view):
        return
    whole = np.frombuffer(pages, np.uint8)
    if whole.flags.writeable:
        return  # what was written there may stand nowhere else
    start = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    begin = start // mmap.PAGESIZE * mmap.PAGESIZE
    pages.madvise(mmap.MADV_DONTNEED, begin, start + view.nbytes - begin)


def leading_mbo(data: Bytes, stride: int) -> int:
    """Count the MBO records, each `stride` bytes by its own length byte, before anything else."""
    rows = data[: len(data) // stride * stride].reshape(-1, stride)
    like_mbo = rows[:, :2].view("<u2")[:, 0] == (RTYPE_MBO << 8 | stride // 4)
    return len(rows) if like_mbo.all() else int(like_mbo.argmin())


class _ZstdReader:
    """Decompresses a file across its frames, by pyarrow's reader, because that one says when the last frame is cut."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._path = path
        self._file = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._file, "zstd")
        self._error: DataError | None = None

    @property
    def read_bytes(self) -> int:
        """How far into the file on disk."""
        position: int = self._file.tell()
        return position

    def read(self, count: int) -> bytes:
        """Read `count` bytes, fewer only at the end."""
        target = np.empty(count, np.uint8)
        return target[: self.fill(target)].tobytes()

    def fill(self, target: Bytes) -> int:
        """Fill `target` and return how many bytes it got; what comes before damage is given first, then the error."""
        if self._error:
            raise self._error
        filled = 0
        try:
            while filled < len(target):
                got = self._stream.readinto(target[filled : filled + _ZSTD_PIECE_BYTES])
                if not got:
                    break
                filled += got
        except OSError as error:
            if error.errno is not None:  # the disk's failure, not the data's
                raise
            self._error = self._damage(str(error))
            if not filled:
                raise self._error from None
        return filled

    def _damage(self, reason: str) -> DataError:
        if "truncated" in reason.lower():
            return TruncatedError(f"{self._path} is cut: its last zstd frame is not complete", path=str(self._path))
        return FormatError(f"{self._path} is damaged: {reason}", path=str(self._path))


class _Parser:
    """Cuts a stream of bytes into batches; knows how many records of any kind came before, for the errors."""

    def __init__(self, file: DbnFile, skipped: Skipped) -> None:
        self.file = file
        self.skipped = skipped
        self.stride = file.record_bytes
        self.window = max(BATCH_RECORDS * self.stride, _MAX_RECORD_BYTES)
        self.first = 0  # MBO records before the current bytes
        self.index = 0  # records of any kind before them
        self.offset = file.header_bytes
        self.mapping_dtype = MAPPING_V1_DTYPE if file.version == 1 else MAPPING_DTYPE
        tail = self.stride - MBO_DTYPE.itemsize  # a sending time follows every record, or none
        self.words_of = np.zeros(256, np.uint8)  # see `_dbn_kernels.split`: 0 is no rtype, 1 any length
        self.words_of[list(RTYPES)] = 1
        self.words_of[RTYPE_MBO] = self.stride // 4
        self.words_of[RTYPE_SYMBOL_MAPPING] = (self.mapping_dtype.itemsize + tail) // 4

    def mapped(self) -> Iterator[Batch]:
        """Read a plain file: the batches are views of the file's own pages, so nobody may cut it short meanwhile."""
        pages = _mapped(self.file)
        data = np.frombuffer(pages, np.uint8)
        released = 0
        while self.offset < len(data):
            window = data[self.offset : self.offset + self.window]
            if not (batch := self._take(window)):
                raise self._truncated(window)
            yield replace(batch, read_bytes=self.offset)
            # Pages that were read count as this process's memory until they are given back. A batch that somebody kept stays
            # valid: its pages come again from the file.
            done = self.offset // mmap.PAGESIZE * mmap.PAGESIZE
            if done - released >= _RELEASE_BYTES:
                pages.madvise(mmap.MADV_DONTNEED, released, done - released)
                released = done

    def compressed(self) -> Iterator[Batch]:
        """Read a Zstandard file: every block is memory of its own, so that a batch stays valid."""
        reader = _ZstdReader(self.file.path)
        if len(reader.read(self.file.header_bytes)) < self.file.header_bytes:
            raise TruncatedError(f"{self.file.path} has become shorter than its header", path=str(self.file.path))
        rest: Bytes = np.empty(0, np.uint8)
        while True:
            block = np.empty(self.window, np.uint8)
            block[: len(rest)] = rest
            try:
                got = reader.fill(block[len(rest) :])
            except DataError as error:
                error.index, error.offset_bytes = self.index, self.offset
                raise
            if not got:
                break
            rest, start = block[: len(rest) + got], self.offset
            while batch := self._take(rest[self.offset - start :]):
                yield replace(batch, read_bytes=reader.read_bytes)
            rest = rest[self.offset - start :]
        if len(rest):
            raise self._truncated(rest)

    def _take(self, data: Bytes) -> Batch | None:
        """Read as many whole records from the front of `data` as one method can; none if not even one is there."""
        if not len(data):
            return None
        run = leading_mbo(data, self.stride)
        if run >= _SPARSE or 0 < run == len(data) // self.stride:
            return self._view(data[: run * self.stride].reshape(run, self.stride))
        return self._step(data)

    def _view(self, rows: Bytes) -> Batch:
        ts_out = None
        if self.stride > MBO_DTYPE.itemsize:
            ts_out = rows[:, MBO_DTYPE.itemsize :].copy().view("<u8")[:, 0]
            rows = rows[:, : MBO_DTYPE.itemsize].copy()
            rows[:, 0] = MBO_DTYPE.itemsize // 4
        return self._batch(rows, ts_out, len(rows), rows.shape[0] * self.stride)

    def _step(self, data: Bytes) -> Batch | None:
        from mbo import _dbn_kernels as kernels

        mbo = np.empty((len(data) // self.stride + 1, MBO_DTYPE.itemsize), np.uint8)
        ts_out = np.empty(len(mbo) if self.stride > MBO_DTYPE.itemsize else 0, np.uint64)
        others = np.empty(len(data) // 16 + 1, np.int64)
        status, consumed, n_mbo, n_others = kernels.split(data, self.words_of, mbo, ts_out, others)
        if not consumed:
            if status == kernels.DONE:
                return None
            raise self._damaged(data, "a bad length byte" if status == kernels.BAD_LENGTH else "an unknown rtype")
        self._skip(data, others[:n_others])
        return self._batch(mbo[:n_mbo], ts_out[:n_mbo] if len(ts_out) else None, n_mbo + n_others, consumed)

    def _batch(self, rows: Bytes, ts_out: npt.NDArray[np.uint64] | None, records: int, consumed: int) -> Batch:
        batch = Batch(as_records(rows.reshape(-1).view(MBO_DTYPE)), self.first, ts_out)
        self.first += len(rows)
        self.index += records
        self.offset += consumed
        return batch

    def _skip(self, data: Bytes, offsets: npt.NDArray[np.int64]) -> None:
        rtypes = data[offsets + 1]
        for rtype, count in enumerate(np.bincount(rtypes, minlength=256)):
            if count:
                self.skipped.counts[RTYPES[rtype]] += int(count)
        starts = offsets[rtypes == RTYPE_SYMBOL_MAPPING]
        rows = data[starts[:, np.newaxis] + np.arange(self.mapping_dtype.itemsize)]
        self.skipped.mappings += symbols.from_messages(rows.view(self.mapping_dtype)[:, 0])

    def _damaged(self, data: Bytes, what: str) -> RecordError:
        return RecordError(
            f"{self.file.path} is damaged: record {self.index} at byte {self.offset:,} has {what} "
            f"(length byte {data[0]}, rtype 0x{data[1]:02x})",
            path=str(self.file.path), index=self.index, offset_bytes=self.offset,
        )  # fmt: skip

    def _truncated(self, rest: Bytes) -> TruncatedError:
        return TruncatedError(
            f"{self.file.path} is cut: it ends {len(rest)} bytes into record {self.index}",
            path=str(self.file.path), index=self.index, offset_bytes=self.offset,
        )  # fmt: skip
