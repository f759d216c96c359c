"""What ingesting and verifying say when they are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one file. `rows` counts what the store has of it, by table."""

    name: str
    sha256: str
    new: bool
    """Whether anything had to be inserted; False where all of it was there."""
    rows: Mapping[Any, int]
    inserted_blocks: int
    found_blocks: int
    seconds: float
    replaced: tuple[str, ...] = ()
    """Files whose place it took."""

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.rows.items())
        return f"<{self.name}: {counts}; {f'stored in {self.seconds:.1f} s' if self.new else 'was there'}>"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of every file, in the order given."""

    files: tuple[Ingested, ...]

    @property
    def rows(self) -> dict[str, int]:
        """Rows of all files, by table."""
        total: dict[str, int] = {}
        for file in self.files:
            for name, count in file.rows.items():
                total[name] = total.get(name, 0) + count
        return total

    def __repr__(self) -> str:
        return f"<Report of {len(self.files)} files: {', '.join(f'{n:,} {name}' for name, n in self.rows.items())}>"

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(f"<tr><td>{escape(repr(file)[1:-1])}</td></tr>" for file in self.files)
        return f"<table>{rows}</table>"


@dataclass(frozen=True, slots=True)
class Verified:
    """Whether what is stored of a file is the file, byte by byte."""

    name: str
    checked: dict[str, int]
    """Rows that were compared, by table."""
    differences: dict[str, Any] = field(default_factory=dict)
    """By table, the number of the first row that differs, or is not there."""

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.ok
