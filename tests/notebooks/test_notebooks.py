"""The notebooks as they are committed: short cells, checked outputs, no machine, no network and no licensed data in them.

That they still give what they show is the business of `make notebooks` (`pytest --nbval-lax notebooks`).
"""

from __future__ import annotations

import ast
import base64
import doctest
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHECKED = "# NBVAL_CHECK_OUTPUT"
NOT_CHECKED = ("NBVAL_IGNORE_OUTPUT", "NBVAL_SKIP", "NBVAL_RAISES_EXCEPTION")
MOST_LINES, LEAST_CHECKS, LARGEST_PICTURE_BYTES = 10, 4, 60_000
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|private|var)/|[A-Z]:\\\\|ipykernel_\d|0x[0-9a-f]{8}|localhost:\d")
NETWORK = re.compile(r"(?:src|href)\s*=\s*[\"'](?:https?:)?//|\bcdn\.|@import\b|url\(\s*[\"']?https?:", re.IGNORECASE)
SILENT = {"apply", "cleanup", "close", "rmtree", "update"}  # methods that give nothing back
LARGEST_COUNT = 10_000_000  # above it are prices in units of 1e-9, times and order ids

Notebook = nbformat.NotebookNode


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> Notebook:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: Notebook) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_checked(cell: Any) -> bool:
    return CHECKED in cell.source.splitlines()


def needs_real_files(cell: Any) -> bool:
    return "MBO_DATA" in cell.source


def texts(cell: Any) -> list[str]:
    """What a cell shows, pictures excepted."""
    found = []
    for output in cell.outputs:
        found += [output.text] if output.output_type == "stream" else []
        found += [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/png")]
    return [text if isinstance(text, str) else repr(text) for text in found]


def test_they_are_numbered_without_a_gap():
    assert len(NOTEBOOKS) >= 4
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(1, len(NOTEBOOKS) + 1)]


def test_each_is_valid_and_says_no_more_of_its_kernel_than_its_name(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}, "the version of Python is that of a machine"
    assert [dict(cell.metadata) for cell in notebook.cells] == [{}] * len(notebook.cells)
    assert [cell.id[3:] for cell in notebook.cells] == [f"{place:02}" for place in range(1, len(notebook.cells) + 1)]


def test_each_begins_with_its_title_and_ends_with_words(notebook):
    assert re.match(r"# \d\d \S", notebook.cells[0].source)
    assert notebook.cells[-1].cell_type == "markdown"
    assert re.search(r"\]\(|`", notebook.cells[-1].source), "what to read next"


def test_a_cell_has_at_most_ten_lines(notebook):
    assert [cell.id for cell in code_cells(notebook) if len(cell.source.splitlines()) > MOST_LINES] == []


def test_each_was_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [(cell, output) for cell in code_cells(notebook) for output in cell.outputs]
    assert [
        cell.id for cell, output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ] == []
    assert all(
        output.execution_count == cell.execution_count for cell, output in outputs if "execution_count" in output
    )


def test_every_output_is_there(notebook):
    """A cell that ends in a value or a print shows it, one that ends in a picture has the picture."""
    missing = []
    for cell in code_cells(notebook):
        last = ast.parse(cell.source).body[-1]
        called = last.value.func if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) else None
        silent = isinstance(called, ast.Attribute) and called.attr in SILENT
        shows = "print(" in ast.unparse(last) or (isinstance(last, ast.Expr) and not silent)
        missing += [cell.id] if shows and not cell.outputs else []
        picture = "plt.show()" in cell.source
        missing += [cell.id] if picture and not any("image/png" in one.get("data", {}) for one in cell.outputs) else []
    assert missing == []


def test_at_least_four_cells_are_checked_and_show_numbers(notebook):
    checked = [cell for cell in code_cells(notebook) if is_checked(cell)]
    assert [cell.id for cell in checked if not "".join(texts(cell)).strip()] == [], "an empty output proves nothing"
    assert sum(bool(re.search(r"\d", "".join(texts(cell)))) for cell in checked) >= LEAST_CHECKS
    assert [cell.id for cell in code_cells(notebook) for marker in NOT_CHECKED if marker in cell.source] == []


def test_nothing_tells_of_a_machine(notebook):
    shown = [(cell.id, text) for cell in code_cells(notebook) for text in (cell.source, *texts(cell))]
    shown += [(cell.id, cell.source) for cell in notebook.cells if cell.cell_type != "code"]
    assert [(place, MACHINE.findall(text)) for place, text in shown if MACHINE.search(text)] == []


def test_nothing_that_is_shown_needs_a_network(notebook):
    shown = [(cell.id, text) for cell in code_cells(notebook) for text in texts(cell)]
    assert [(place, NETWORK.findall(text)) for place, text in shown if NETWORK.search(text)] == []


def test_pictures_are_small(notebook):
    pictures = [
        base64.b64decode(output.data["image/png"])
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures, "each notebook has a picture"
    assert [len(picture) for picture in pictures if len(picture) > LARGEST_PICTURE_BYTES] == []


# ---------------------------------------------------------------- real files


def stored_and_loaded(cell: Any) -> tuple[set[str], set[str]]:
    names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return stored, {node.id for node in names if isinstance(node.ctx, ast.Load)}


def not_counts(text: str) -> list[str]:
    """Find what is neither a word, nor a count, nor a share in percent."""
    found = [
        number
        for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)
        if int(re.sub(r",|\..*", "", number)) > LARGEST_COUNT
    ]
    return found + re.findall(r"-?\d[\d,]*\.\d+(?![\d\s]*%)", text)


def test_what_comes_of_real_files_is_pass_or_fail_and_counts(notebook):
    for cell in filter(needs_real_files, code_cells(notebook)):
        assert not is_checked(cell), "who has no real files could not have this output"
        assert {output.output_type for output in cell.outputs} <= {"stream"}, "words only"
        assert not_counts("".join(texts(cell))) == []
        assert "print(" in cell.source
        assert "assert " in cell.source, "what it prints is not checked: it has to fail by itself"


def test_nothing_of_a_real_file_goes_on_to_other_cells(notebook):
    before: set[str] = set()
    for cell in code_cells(notebook):
        stored, loaded = stored_and_loaded(cell)
        if needs_real_files(cell):
            before |= stored
        else:
            assert loaded & before <= stored, f"{cell.id} uses what {cell.id} has of a real file"
            before -= stored


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("CLX5: pass, 38,212 records, 99.95 %, 3.2% [0, 16, 436]", []),
        ("best bid 64.95", ["64.95"]),
        ("64950000000 x 3", ["64950000000"]),
        ("-0.30 %, -0.30", ["-0.30"]),
    ],
)
def test_counts_are_told_from_prices(text, wrong):
    assert not_counts(text) == wrong


# ---------------------------------------------------------------- the README


def test_the_readme_example_is_the_first_cells_of_01():
    section = (ROOT / "README.md").read_text().partition("\n## In a notebook\n")[2].partition("\n## ")[0]
    examples = doctest.DocTestParser().get_examples(section)
    first = nbformat.read(NOTEBOOKS[0], as_version=4)
    code = [line for cell in code_cells(first) for line in cell.source.splitlines() if line.strip() and line != CHECKED]
    readme = "".join(example.source for example in examples).splitlines()
    assert len(readme) > 5
    assert [spaced(line) for line in code[: len(readme)]] == [spaced(line) for line in readme]
    shown = [output.get("text") or output.data["text/plain"] for cell in code_cells(first) for output in cell.outputs]
    wanted = [example.want.strip() for example in examples if example.want]
    assert [text.strip() for text in shown[: len(wanted)]] == wanted


def spaced(line: str) -> str:
    """A line with its comment two blanks away, as the formatter has it in a notebook."""
    return re.sub(r"\s+#", "  #", line)
