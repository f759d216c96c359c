"""Run notebooks from top to bottom and write what their cells gave back into them.

    python tests/notebooks/execute.py                        # all of notebooks/
    python tests/notebooks/execute.py notebooks/01*.ipynb

What depends on the moment or on the machine is left out (times, versions, what was said on standard error), so that running them
again changes nothing but what the code changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELL_SECONDS = 300


def execute(path: Path) -> None:
    """Run one notebook in its own folder, as `pytest --nbval-lax` does, and write it beside and rename it."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=CELL_SECONDS, record_timing=False, resources=resources).execute()
    settle(notebook)
    nbformat.validate(notebook)
    written = path.with_suffix(".part")
    nbformat.write(notebook, written)
    written.replace(path)


def settle(notebook: nbformat.NotebookNode) -> None:
    """Take out what another run would change, and number cells and runs in their order."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    runs = 0
    for place, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{place:02}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type != "code":
            continue
        runs += 1
        cell.execution_count = runs
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = runs


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        execute(path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
