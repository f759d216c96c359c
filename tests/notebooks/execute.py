"""Run notebooks from top to bottom and write what their cells gave back into them.

    python tests/notebooks/execute.py                        # all of notebooks/
    python tests/notebooks/execute.py notebooks/01*.ipynb

What depends on the moment or on the machine is left out (times, versions, what was said on standard error), so that running them
again changes nothing but what the code changed. Interactive pictures are left out too: they are megabytes of scripts with new ids
each time, which a notebook shows only to whoever runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_SECONDS = 300


def execute(path: Path) -> None:
    """Run one notebook in its own folder, as `pytest --nbval-lax` does, and write it beside and rename it."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=CELL_SECONDS, record_timing=False, resources=resources).execute()
    settle(notebook, path.name[:2])
    nbformat.validate(notebook)
    written = path.with_suffix(".part")
    nbformat.write(notebook, written)
    written.replace(path)


def settle(notebook: nbformat.NotebookNode, number: str) -> None:
    """Take out what another run would change, and number cells and runs in their order."""
    notebook.metadata = nbformat.from_dict(METADATA)
    runs = 0
    for place, cell in enumerate(notebook.cells, 1):
        cell.id = f"{number}-{place:02}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type != "code":
            continue
        runs += 1
        cell.execution_count = runs
        cell.outputs = merged(
            output for output in cell.outputs if output.get("name") != "stderr" and not scripted(output)
        )
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = runs


def scripted(output: nbformat.NotebookNode) -> bool:
    """Say whether an output is a script, or the empty place in which one draws."""
    data = output.get("data", {})
    return "application/javascript" in data or "data-root-id" in data.get("text/html", "")


def merged(outputs: Iterable[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Put together what was printed in pieces: where it is cut depends on the moment."""
    whole: list[nbformat.NotebookNode] = []
    for output in outputs:
        if whole and output.output_type == whole[-1].output_type == "stream":
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        execute(path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
