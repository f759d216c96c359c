"""The component's modules as one text."""

import re

import pytest

from mbo.errors import InternalError
from mbo.view import bundle


def test_modules_stand_after_what_they_import():
    modules = {
        "main.mjs": 'import {b} from "./b.mjs";\nimport {a} from "./a.mjs";\nexport function render() {\n  return a + b;\n}\n',
        "a.mjs": "export const a = 1;\n",
        "b.mjs": 'import {\n  a,\n} from "./a.mjs";\nexport const b = a;\n',
    }
    joined = bundle.join(modules)
    assert joined.index("const a = 1") < joined.index("const b = a") < joined.index("function render")
    assert re.findall(r"^(?:import|export).*", joined, re.MULTILINE) == ["export {render};"]


def test_what_nobody_imports_is_left_out():
    assert "unused" not in bundle.join({"main.mjs": "export const x = 1;\n", "other.mjs": "export const unused = 1;\n"})


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"main.mjs": 'import {a} from "./a.mjs";\n'}, r"there is no module a\.mjs"),
        (
            {
                "main.mjs": 'import {a} from "./a.mjs";\n',
                "a.mjs": 'import {m} from "./main.mjs";\nexport const a = 1;\n',
            },
            r"import each other: .*main\.mjs.*",
        ),
        (
            {
                "main.mjs": 'import {a} from "./a.mjs";\nconst twice = 1;\n',
                "a.mjs": "export const a = 1;\nfunction twice() {}\n",
            },
            r"a\.mjs and main\.mjs both define twice",
        ),
        (
            {
                "main.mjs": 'import {a} from "./a.mjs";\nconst {one: twice} = {};\n',
                "a.mjs": "export const a = 1;\nlet twice;\n",
            },
            "both define twice",
        ),
        ({"main.mjs": "export default 1;\n"}, "cannot hold"),
        ({"main.mjs": 'import * as all from "./a.mjs";\n'}, "cannot hold"),
        ({"main.mjs": 'import {x} from "https://elsewhere/x.mjs";\n'}, "cannot hold"),
    ],
    ids=["absent", "circle", "twice", "twice_unpacked", "default", "star", "elsewhere"],
)
def test_modules_that_cannot_be_joined_are_refused(modules, says):
    with pytest.raises(InternalError, match=says):
        bundle.join(modules)


def test_bundle_holds_every_module():
    needed = set(bundle._order({path.name: path.read_text() for path in bundle.FOLDER.glob("*.mjs")}, bundle.MAIN))
    assert needed == {path.name for path in bundle.FOLDER.glob("*.mjs")}


def test_bundle_asks_nothing_of_the_network_and_makes_no_markup():
    text = bundle.esm()
    assert set(re.findall(r"\w+://[\w./]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|import\(", text
    )
    assert text.rstrip().endswith("export {render};")
