"""The check of the notebooks can fail: a committed number that is not what the cell gives turns exactly its cell red."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "01_first_look.ipynb"
EXECUTE = Path(__file__).with_name("execute.py")
PYTEST = ("-m", "pytest", "--nbval-lax", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist", "--color=no")


def run(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | settings
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)


def raised(text: str) -> str:
    """One digit more than it was: the last one of the text, and a 0 for a 9."""
    place = max(match.start() for match in re.finditer(r"\d", text))
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def test_a_changed_number_turns_its_cell_red_and_no_other(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    checked = {}
    for place, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        if "# NBVAL_CHECK_OUTPUT" in cell.source:
            (output,) = cell.outputs
            kind = "text" if output.output_type == "stream" else max(output.data, key=lambda kind: kind == "text/html")
            checked.setdefault(kind, (place, output if kind == "text" else output.data))
    assert set(checked) == {"text", "text/plain", "text/html"}, "what is printed, a value, and what draws itself"
    for kind, (_, holder) in checked.items():
        holder[kind] = raised(holder[kind])
    changed = tmp_path / "changed.ipynb"
    nbformat.write(notebook, changed)
    result = run(*PYTEST, "-c", ROOT / "pyproject.toml", changed)
    assert result.returncode == 1, result.stdout + result.stderr
    failed = {int(number) for number in re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)}
    assert failed == {place for place, _ in checked.values()}, result.stdout
    assert result.stdout.count("Cell outputs differ") >= len(checked)
    assert "error" not in result.stdout.splitlines()[-1]


def test_running_a_notebook_again_gives_the_same_bytes(tmp_path):
    cells = [
        "import sys\n\nimport matplotlib.pyplot as plt\n\nprint('said aloud', file=sys.stderr)\nplt.plot([1, 3, 2])\nplt.show()",
        "import mbo\n\nfor n in range(2):\n    print(n, flush=True)\nmbo.read_dbn(mbo.SIMULATED).symbols",
        "from IPython.display import HTML, Javascript, display\n\ndisplay(Javascript('1'), HTML('<div data-root-id=p1></div>'))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    path, written = tmp_path / "09_again.ipynb", []
    nbformat.write(notebook, path)
    for _ in range(2):
        result = run(EXECUTE, path)
        assert result.returncode == 0, result.stderr
        written.append(path.read_bytes())
    assert written[0] == written[1]
    first, second, third = nbformat.read(path, as_version=4).cells
    assert [output.output_type for output in first.outputs] == ["display_data"], "a picture, and nothing of the other"
    printed, value = second.outputs
    assert printed.text == "0\n1\n"
    assert value.data["text/plain"] == "['SIM1', 'SIM2', 'SIM3']"
    assert third.outputs == [], "scripts, and the places that they draw in"
    assert (first.id, second.id, second.execution_count) == ("09-01", "09-02", 2)


def test_a_cell_that_fails_leaves_the_notebook_as_it_was(tmp_path):
    path = tmp_path / "09_broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    result = run(EXECUTE, path)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["09_broken.ipynb"]


@pytest.mark.parametrize(("required", "code"), [("chromium", 0), ("chromium,data", 1)])
def test_cells_on_real_files_fail_without_them_only_where_they_have_to_be_there(tmp_path, required, code):
    """The imports of every notebook, then its cells on real files, where `MBO_DATA` names a folder that has none."""
    cells = 0
    for path in NOTEBOOK.parent.glob("*.ipynb"):
        sources = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        imports = [
            ast.unparse(node)
            for source in sources
            for node in ast.parse(source).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        real = [source for source in sources if "MBO_DATA" in source]
        cells += len(real)
        chosen = [nbformat.v4.new_code_cell(source) for source in ["\n".join(imports), *real]]
        if real:
            nbformat.write(nbformat.v4.new_notebook(cells=chosen), tmp_path / path.name)
    result = run(
        *PYTEST, "-c", ROOT / "pyproject.toml", tmp_path, MBO_DATA=str(tmp_path / "none"), MBO_REQUIRE=required
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert cells >= 4
    failed = re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)
    assert len(failed) == code * cells, result.stdout
    assert "0" not in failed, "the imports"
