"""The package's shape: imports run one way along the data flow, `import mbo` costs little, the public names are these."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mbo

PACKAGE = Path(mbo.__file__).parent

# From the bytes of a file to the command line; what stands in a line may import from its own and the lines above.
FLOW = [
    {"errors", "units", "progress", "files", "ahead"},
    {"auth", "config"},
    {"records"},
    {"symbols", "schemas", "selection", "summary", "_jit"},
    {"_dbn_kernels", *(f"_simulator{part}_kernels" for part in ("", "_state", "_event", "_feature", "_truth"))},
    {"dbn"},
    {"streams", "bbo"},
    {"book"},
    {"mbp", "opening", "_opening_kernels"},
    {"replay", "simulator"},
    {"live", "store", "analytics"},
    {"loading", "tables", "recorder", "cluster", "view"},
    {"telemetry"},
    {"text"},
    {"formats"},
    {"comparison", "run", "verification"},
    {"api"},
    {"bench", "doctor"},
    {"cli"},
    {"__main__"},
]
# What is asked of the data is asked of `Records`, also the picture that is made of it far below.
BACKWARDS = {("replay.py", "view")}
LEVEL = {name: level for level, names in enumerate(FLOW) for name in names}


def modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def imports(path: Path, *, everywhere: bool = True) -> Iterator[str]:
    """Every module that a file imports, when it runs (not only for type checkers), or just when it is itself imported."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
        if isinstance(node, ast.FunctionDef) and not everywhere:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "mbo")


@pytest.mark.parametrize("name", modules())
def test_imports_run_one_way_along_the_flow(name):
    own = name.split("/")[0].removesuffix(".py")
    assert own in LEVEL, f"say in FLOW where {own} stands"
    for imported in imports(PACKAGE / name):
        parts = imported.split(".")
        if parts[0] == "mbo" and len(parts) > 1 and parts[1] in LEVEL:
            allowed = (
                LEVEL[parts[1]] < LEVEL[own]
                or parts[1] == own
                or (LEVEL[parts[1]] == LEVEL[own] and own not in ("book", "cli"))
            )
            asked = (name, parts[1]) in BACKWARDS
            assert allowed or asked, f"{name} imports {imported}, which comes later in the flow"


def test_only_one_module_imports_numba():
    users = [
        name for name in modules() if any(imported.split(".")[0] == "numba" for imported in imports(PACKAGE / name))
    ]
    assert users == ["_jit.py"]


def test_the_command_line_uses_nothing_private():
    for imported in imports(PACKAGE / "cli.py"):
        assert not any(part.startswith("_") for part in imported.removeprefix("__future__").split("."))


def test_the_public_names_are_these():
    expected = """
        MBO_DTYPE SIMULATED Action Book Books DataError Flag InternalError MboError Records ReferenceBook RequestError Side
        Store __version__ analytics compare connect read_dbn record serve_gateway simulate verify
    """
    assert mbo.__all__ == expected.split()
    for name in mbo.__all__:
        assert getattr(mbo, name) is not None
    assert dir(mbo) == sorted(mbo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mbo.nothing


def test_import_mbo_loads_nothing_heavy():
    script = "import sys, mbo; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    heavy = {
        "numba",
        "numpy",
        "polars",
        "pyarrow",
        "chdb",
        "panel",
        "rich",
        "typer",
        "databento_dbn",
        "sortedcontainers",
    }
    assert "mbo" in loaded
    assert not heavy & set(loaded)


def test_reading_a_header_loads_no_compiler():
    script = (
        "import sys, mbo; mbo.read_dbn(mbo.SIMULATED).symbols; print('numba' in sys.modules, 'polars' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False False\n"
