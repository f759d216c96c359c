"""Every command of the README runs as it stands, but for those that say why they are not; what would be wrong is found."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from tests.docs.readme import ReadmeError, blocks, prints, read
from tests.docs.shell import INSIDE, ROOT, Shell, copy_tree, run, variables

pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="commands are looked after through Linux's /proc"),
]

WHOLE = """
# A thing

```sh
export WORD=hello          # what comes later finds it
mkdir inner && cd inner
cat > page.txt <<END
$WORD $(basename "$PWD")
END
```

```python
$ this is not run
```

## It is served

<!-- until: ready at -->
```console
$ for n in 1 2 3; do
>     echo "$n"
> done
1
...
3
$ echo ready at last; trap 'rm served' EXIT; touch served; while :; do sleep 0.05; done
```

```console
$ cat page.txt
hello inner
$ ls
page.txt
served
$ printf "a\\n\\
> b\\n"
a
b
```

<!-- a remark -->
<!-- not run: it takes a network -->
```bash
curl https://example.org && touch fetched
```

## It is over

```bash
test ! -e served
test ! -e fetched
```
"""


@pytest.fixture
def outcomes(tmp_path):
    """Run a README that was made up, in an empty folder; gives how each command went."""

    def go(text: str, limit_s: float = 20.0):
        folder = tmp_path / "tree"
        folder.mkdir()
        home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        with Shell(folder, tmp_path / "notes", home, limit_s) as shell:
            return list(run(blocks(textwrap.dedent(text)), shell))

    return go


def block(command: str, *, language: str = "sh", marker: str = "") -> str:
    return f"# A thing\n\n{marker}\n```{language}\n{command}\n```\n"


def test_what_is_right_is_run_and_found_right(outcomes):
    found = outcomes(WHOLE)
    assert [str(one) for one in found if one.fault] == []
    assert [one.command.text.partition("\n")[0].partition(" ")[0] for one in found] == [
        "export", "mkdir", "cat", "for", "echo", "cat", "ls", "printf", "test", "test"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (block("true\nfalse"), "exit code 1"),
        (block("mbo-of-nobody --help"), "exit code 127"),
        (block("false | cat"), "exit code 1"),
        (block("exit 0"), "it ended the shell"),
        (block("kill -9 $$"), "it ended the shell"),
        (block("if true; then )"), "exit code 2"),
        (block("cat"), ""),
        (block("sleep 60"), "it did not end within 2 s"),
        (block("$ echo one\ntwo", language="console"), "it prints something else than the README says"),
        (block("$ echo one; echo two\none", language="console"), "it prints something else than the README says"),
        (block("$ true\none", language="console"), "it prints something else than the README says"),
        (block("echo other; sleep 60", marker="<!-- until: ready -->"), "it did not say 'ready' within 2 s"),
        (block("sleep 60", marker="<!-- ready: test -e made -->"), "it did not pass 'test -e made' within 2 s"),
        (block("sleep 0.5; touch made; sleep 60", marker="<!-- ready: test -e made -->"), ""),
        (block("false", marker="<!-- ready: test -e made -->"), "it ended, and did not pass 'test -e made'"),
        (block("echo other", marker="<!-- until: ready -->"), "it ended, and did not say 'ready'"),
        (block("echo ready", marker="<!-- until: ready -->"), "it ended before its section did"),
    ],
)
def test_what_is_wrong_is_found(text, fault, outcomes):
    found = outcomes(text, limit_s=2.0)
    said = [one.fault for one in found if one.fault]
    assert [one.partition(":\n")[0] for one in said] == ([fault] if fault else [])


def test_a_server_that_does_not_end_is_killed_and_told_of(outcomes, monkeypatch):
    monkeypatch.setattr("tests.docs.shell._END_S", 0.5)
    text = block("trap '' TERM; echo ready; while :; do sleep 0.05; done", marker="<!-- until: ready -->")
    assert [one.fault for one in outcomes(text)] == ["", "it did not end within 0.5 s of being asked to"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (block("true", marker="<!-- not run: -->"), "says nothing behind its colon"),
        (block("true", marker="<!-- not run -->"), "is no marker"),
        (block("true", marker="<!-- not-run: it is slow -->"), "is no marker"),
        (block("true", marker="<!-- skip: it is slow -->"), "is no marker"),
        (block("true", marker="<!-- not run: it is slow -->\nA word between."), "stands right before a fence"),
        (block("true", marker="<!-- not run: a -->\n<!-- until: b -->"), "either it is not run"),
        (block("true", marker="<!-- Ready: a -->"), "is no marker"),
        (block("true", language="python", marker="<!-- not run: a -->"), "is never run, and has a marker"),
        (block("true", language="shell"), "and this is shell"),
        (block("$ true", language=""), "and this is none"),
        (block("echo 'one"), "has no end"),
        (block("$ echo 'one", language="console"), "has no end"),
        (block("true", language="console"), "begins with `$ `"),
        (block("# nothing"), "there is no command"),
        ("```sh\ntrue\n", "is not closed"),
        ("# A thing\n<!-- not run: a -->\n", "stands right before a fence"),
    ],
)
def test_what_would_silently_not_be_run_is_refused(text, fault):
    with pytest.raises(ReadmeError, match=fault.replace("$", r"\$")):
        blocks(text)


def test_output_is_compared_line_by_line():
    assert prints(("a", "...", "d"), "a\nb\nc\nd\n")
    assert prints(("a", "..."), "a\n")
    assert prints(("a  b*", "", "c"), "a  b*   \n\nc")
    assert not prints(("a", "...", "d"), "a\nb\n")
    assert not prints(("a.",), "ab\n")


# ------------------------------------------------------------ the README itself


def test_the_readme_is_read_whole():
    found = read(ROOT / "README.md")
    assert sum(len(one.commands) for one in found) > 10
    assert all(one.not_run is None or len(one.not_run.split()) > 2 for one in found)


@pytest.mark.timeout(600)
def test_every_command_of_the_readme_runs(tmp_path):
    assert INSIDE not in os.environ, "the README runs its own check, without end: mark `make docs-test` as not run"
    folder = tmp_path / "mbo"
    folder.mkdir()
    copy_tree(folder)
    found = read(folder / "README.md")
    with Shell(folder, tmp_path / "notes", variables(folder, tmp_path / "home")) as shell:
        outcomes = list(run(found, shell))
    assert len(outcomes) >= sum(len(one.commands) for one in found if one.not_run is None)
    for one in found:
        if one.not_run is not None:
            print(f"line {one.line}: not run: {one.not_run}")
    assert "\n\n".join(str(one) for one in outcomes if one.fault) == ""


def test_a_copy_has_what_is_tracked_and_nothing_else(tmp_path):
    copy_tree(tmp_path)
    assert (tmp_path / "mbo" / "__init__.py").read_bytes() == (ROOT / "mbo" / "__init__.py").read_bytes()
    assert not (tmp_path / ".git").exists()
    assert not Path(tmp_path, ".venv", "installed").is_symlink()
    assert (
        Path(tmp_path, ".venv", "installed").stat().st_mtime_ns > Path(tmp_path, ".venv", "locked").stat().st_mtime_ns
    )
    assert Path(tmp_path, ".venv", "bin").resolve() == (ROOT / ".venv" / "bin").resolve()
