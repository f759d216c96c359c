"""The list of dependencies, the locks made from it and what the package asks for agree.

A check is a function from a `Project`, the files under one root, to its faults in words. Every check runs on this
checkout and has to find nothing, then on copies with one planted fault each and has to find that one: a check gone
blind turns red as well. Nothing here needs a network or conda. The file is long because the table of planted faults
stands beside the checks.
"""

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
import re
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("conda-lock.yml", "requirements-pip.txt", "requirements.lock")
FILES = ("environment.yml", "virtual-packages.yml", *LOCKS, "pyproject.toml")
CHANNEL = "https://conda.anaconda.org/conda-forge/"
PYTHONS = ("3.11", "3.12", "3.13")  # of requirements.lock
EXTRAS = {"serve", "dashboard", "scale", "dev"}
METAPACKAGES = {"uvicorn-standard": "uvicorn[standard]"}  # conda's name for a package with an extra
CONDA_ONLY = {"python", "pip"}  # what a venv has already
PARTS = {"llvmlite": "numba"}  # released together, pinned by it
SYSTEMS = {"linux-64": ("linux", "x86_64", "Linux"), "osx-arm64": ("darwin", "arm64", "Darwin")}


# ---------------------------------------------------------------- the files


@dataclasses.dataclass(frozen=True)
class Pin:
    """One package of a requirements file."""

    name: str
    version: str
    marker: str | None
    hashes: frozenset[str]
    conda_name: str | None

    def applies(self, python: str, platform: str) -> bool:
        system, machine, name = SYSTEMS[platform]
        environment = {"python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython"}
        environment |= {"sys_platform": system, "platform_machine": machine, "platform_system": name}
        return self.marker is None or Marker(self.marker).evaluate(environment)


ENTRY = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s;*]+)(?: ; (?P<marker>.+?))?"
    r"(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


class Project:
    """The files under a root, read when asked for."""

    def __init__(self, root: Path):
        self.root = root

    def text(self, name: str) -> str:
        return (self.root / name).read_text()

    @cached_property
    def environment(self) -> dict:
        return parse_yaml(self.text("environment.yml"))

    @cached_property
    def conda_specs(self) -> dict[str, str]:
        """conda name -> version spec"""
        lines = [line for line in self.environment["dependencies"] if isinstance(line, str)]
        return dict(re.fullmatch(r"([\w.-]+)\s*(.*)", line).groups() for line in lines)

    @cached_property
    def pip_requirements(self) -> list[Requirement]:
        parts = [part["pip"] for part in self.environment["dependencies"] if isinstance(part, dict)]
        return [Requirement(line) for part in parts for line in part]

    @cached_property
    def conda_lock(self) -> dict:
        return parse_yaml(self.text("conda-lock.yml"))

    @cached_property
    def platforms(self) -> list[str]:
        return self.environment["platforms"]

    @cached_property
    def conda(self) -> dict[str, dict[str, dict]]:
        """platform -> name -> entry"""
        entries = self.conda_lock["package"]
        return {platform: {e["name"]: e for e in entries if e["platform"] == platform} for platform in self.platforms}

    def pins(self, name: str) -> list[Pin]:
        return [pin for pin in parse_pins(self.text(name)) if isinstance(pin, Pin)]

    @cached_property
    def pypi_requirements(self) -> dict[str, Requirement]:
        """PyPI name -> what environment.yml asks for, of both its parts; bounds in PEP 440's words"""
        twins = {pin.conda_name: pin.name for pin in self.pins("requirements.lock") if pin.conda_name} | METAPACKAGES
        asked = [
            Requirement(twins.get(name, name) + pep440(spec))
            for name, spec in self.conda_specs.items()
            if name not in CONDA_ONLY
        ]
        return {canonicalize_name(requirement.name): requirement for requirement in asked + self.pip_requirements}

    @cached_property
    def pyproject(self) -> dict:
        return tomllib.loads(self.text("pyproject.toml"))

    @cached_property
    def package_requirements(self) -> dict[str, list[Requirement]]:
        """'' for the package itself, else the extra -> requirements"""
        project = self.pyproject["project"]
        lists = {"": project["dependencies"], **project["optional-dependencies"]}
        return {extra: [Requirement(line) for line in lines] for extra, lines in lists.items()}


@lru_cache(maxsize=4)
def parse_yaml(text: str) -> dict:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def parse_pins(text: str) -> Iterator[Pin | str]:
    """The pins of a requirements file, and as it stands every line that is neither a hashed pin nor a comment."""
    conda_name = None
    for line in re.sub(r" \\\n *", " ", text).splitlines():
        if line.startswith("#"):
            conda_name = line.removeprefix("# conda: ") if line.startswith("# conda: ") else None
        elif found := ENTRY.fullmatch(line):
            hashes = frozenset(found["hashes"].split())
            yield Pin(canonicalize_name(found["name"]), found["version"], found["marker"], hashes, conda_name)
        elif line:
            yield line


def pep440(conda_spec: str) -> str:
    """'3.13.*' -> '==3.13.*'; what has an operator stays."""
    return ",".join(re.sub(r"^(?=\d)", "==", part) for part in conda_spec.split(",") if part)


def fits(version: str, conda_spec: str) -> bool | None:
    """Whether a version is in a conda spec; None for the few that PEP 440 cannot say, such as '2026a' or '1.2|1.3'."""
    try:
        return SpecifierSet(pep440(conda_spec)).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return None


# ---------------------------------------------------------------- conda-lock.yml


def conda_list_is_locked(project: Project) -> Iterator[str]:
    for platform, locked in project.conda.items():
        for name, spec in project.conda_specs.items():
            if name not in locked:
                yield f"{name} is not locked for {platform}"
            elif fits(locked[name]["version"], spec) is not True:
                yield f"{name} {locked[name]['version']} on {platform} is not {spec}"


def conda_lock_is_closed_and_minimal(project: Project) -> Iterator[str]:
    for platform, locked in project.conda.items():
        needed, todo = set(), list(project.conda_specs)
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                needs = locked[name]["dependencies"] if name in locked else ()
                todo += [need for need in needs if not need.startswith("__")]  # __glibc and such: the system itself
        yield from (f"{name} is needed on {platform}, not locked" for name in sorted(needed - set(locked)))
        yield from (f"{name} is locked for {platform}, not needed" for name in sorted(set(locked) - needed))


def conda_versions_fit_together(project: Project) -> Iterator[str]:
    for platform, locked in project.conda.items():
        for name, entry in locked.items():
            for need, spec in entry["dependencies"].items():
                if need in locked and fits(locked[need]["version"], spec) is False:
                    yield f"{name} on {platform} needs {need} {spec}, not {locked[need]['version']}"


def conda_entries_are_whole(project: Project) -> Iterator[str]:
    lock = project.conda_lock
    if lock["version"] != 1 or lock["metadata"]["platforms"] != project.platforms:
        yield "conda-lock.yml is of another format or for other platforms"
    if [channel["url"] for channel in lock["metadata"]["channels"]] != project.environment["channels"]:
        yield "conda-lock.yml is of other channels"
    for (name, platform), times in Counter((e["name"], e["platform"]) for e in lock["package"]).items():
        if times > 1:
            yield f"{name} is locked {times} times for {platform}"
    for entry in lock["package"]:
        name, version, platform = entry["name"], entry["version"], entry["platform"]
        place = f"{re.escape(CHANNEL)}(noarch|{platform})/{re.escape(f'{name}-{version}')}-[^-/]+"
        if not re.fullmatch(rf"{place}\.(conda|tar\.bz2)", entry["url"]):
            yield f"{name} {version} for {platform} comes from {entry['url']}"
        for kind, digits in (("md5", 32), ("sha256", 64)):
            if not re.fullmatch(f"[0-9a-f]{{{digits}}}", entry["hash"].get(kind, "")):
                yield f"{name} for {platform} has no good {kind}"


# ---------------------------------------------------------------- requirements files


def pins_are_whole(project: Project) -> Iterator[str]:
    for file in ("requirements.lock", "requirements-pip.txt"):
        for line in parse_pins(project.text(file)):
            if isinstance(line, str):
                yield f"{file}: not a pin with hashes: {line[:80]}"
        for (name, marker), times in Counter((pin.name, pin.marker) for pin in project.pins(file)).items():
            if times > 1:
                yield f"{file}: {name} ; {marker} is there {times} times"


def locks_are_of_this_environment(project: Project) -> Iterator[str]:
    """A change of a comment needs no relock; one of a dependency or of a system does."""
    systems = parse_yaml(project.text("virtual-packages.yml"))["subdirs"]
    spec = [project.environment["dependencies"], {name: system["packages"] for name, system in systems.items()}]
    digest = hashlib.sha256(json.dumps(spec).encode()).hexdigest()
    days = set()
    for file in ("requirements.lock", "requirements-pip.txt"):
        if f"# spec: {digest}\n" not in project.text(file):
            yield f"{file} was made from another environment.yml or virtual-packages.yml: lock again"
        days.update(re.findall(r"^# uploads before: (.+)$", project.text(file), re.MULTILINE))
    if len(days) != 1:
        yield f"the requirements files were made on different days: {sorted(days)}"
    if set(systems) != set(project.platforms):
        yield "virtual-packages.yml and environment.yml name different platforms"


def list_is_pinned(project: Project) -> Iterator[str]:
    everywhere = {pin.name: pin for pin in project.pins("requirements.lock")}
    inside = {pin.name: pin for pin in project.pins("requirements-pip.txt")}
    pip_names = {canonicalize_name(requirement.name) for requirement in project.pip_requirements}
    for name, requirement in project.pypi_requirements.items():
        files = [("requirements.lock", everywhere)] + [("requirements-pip.txt", inside)] * (name in pip_names)
        for file, pins in files:
            if name not in pins:
                yield f"{name} is not in {file}"
            elif not requirement.specifier.contains(pins[name].version, prereleases=True):
                yield f"{name} {pins[name].version} in {file} is not {requirement.specifier}"


def routes_bring_the_same(project: Project) -> Iterator[str]:
    """With conda or without: the same packages at the same versions."""
    everywhere, inside = project.pins("requirements.lock"), project.pins("requirements-pip.txt")
    for platform, locked in project.conda.items():
        python = ".".join(locked["python"]["version"].split(".")[:2])
        with_pip = {pin.name: pin for pin in inside if pin.applies(python, platform)}
        without_conda = {pin.name: pin for pin in everywhere if pin.applies(python, platform)}
        for name in sorted(set(with_pip) - set(without_conda)):
            yield f"{name} is in requirements-pip.txt, not in requirements.lock"
        for name, pin in without_conda.items():
            twin = with_pip.get(name)
            if pin.conda_name in locked:
                if Version(locked[pin.conda_name]["version"]) != Version(pin.version):
                    yield f"{name} is {pin.version}, with conda {locked[pin.conda_name]['version']}"
                if twin:
                    yield f"{name} comes from conda and from requirements-pip.txt"
            elif not twin:
                yield f"{name} comes with neither part of the conda route on {platform}"
            elif twin.version != pin.version or not twin.hashes <= pin.hashes:
                yield f"{name} differs between the requirements files"
    conda_names = {canonicalize_name(name) for locked in project.conda.values() for name in locked}
    for pin in everywhere:
        if pin.conda_name is None and pin.name in conda_names:
            yield f"{pin.name} is not marked as conda's, but conda-lock.yml has it"


def pins_are_closed_and_minimal(project: Project) -> Iterator[str]:
    """By what the installed packages say they need; on this system and this Python only."""
    pins = {
        pin.name: pin for pin in project.pins("requirements.lock") if not pin.marker or Marker(pin.marker).evaluate()
    }
    installed = {canonicalize_name(d.name): d for d in importlib.metadata.distributions() if d.name}
    known = {name for name, pin in pins.items() if name in installed and installed[name].version == pin.version}
    if len(known) < 0.9 * len(pins):
        pytest.skip(f"only {len(known)} of {len(pins)} pins are installed here")
    needed: set[tuple[str, str]] = set()
    todo = list(project.pypi_requirements.values())
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name not in pins:
            yield f"{requirement} is needed, not locked"
        elif not requirement.specifier.contains(pins[name].version, prereleases=True):
            yield f"{requirement} is needed, {pins[name].version} is locked"
        for extra in {"", *requirement.extras} if name in known else ():
            if (name, extra) not in needed:
                needed.add((name, extra))
                needs = [Requirement(line) for line in installed[name].requires or ()]
                todo += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    if known == set(pins):  # else what a missing package needs would look like too much
        yield from (f"{name} is locked, not needed" for name in sorted(known - {name for name, _ in needed}))


# ---------------------------------------------------------------- pyproject.toml


def package_asks_for_the_list(project: Project) -> Iterator[str]:
    """Same names, same bounds, nothing left over on either side."""
    listed, asked = project.pypi_requirements, project.package_requirements
    built = [Requirement(line) for line in project.pyproject["build-system"]["requires"]]
    if set(asked) - {""} != EXTRAS:
        yield f"extras are {sorted(set(asked) - {''})}"
    used = set()
    for requirement in [*built, *(requirement for part in asked.values() for requirement in part)]:
        name = canonicalize_name(requirement.name)
        used.add(name)
        if name not in listed:
            yield f"{name} is not in environment.yml"
        elif (requirement.specifier, requirement.extras) != (listed[name].specifier, listed[name].extras):
            yield f"pyproject.toml asks for {requirement}, environment.yml for {listed[name]}"
    yield from (f"{name} is in environment.yml, and nothing asks for it" for name in sorted(set(listed) - used))
    takes = SpecifierSet(project.pyproject["project"]["requires-python"])
    pythons = {*PYTHONS, *(locked["python"]["version"] for locked in project.conda.values())}
    yield from (
        f"requires-python {takes} rules out {python}" for python in sorted(pythons) if not takes.contains(python)
    )
    if takes.contains("3.10"):
        yield f"requires-python {takes} takes a Python older than the lock's"


def imports_are_declared(project: Project) -> Iterator[str]:
    """What the package imports is in its core or in an extra for users; what the tests import, in any, or a tool of their own."""
    owners = importlib.metadata.packages_distributions()
    lists = [file.read_text() for file in sorted(project.root.glob("tests/*/requirements.in"))]
    tools = {
        canonicalize_name(Requirement(line).name) for text in lists for line in text.splitlines() if line[:1].isalpha()
    }
    for folder, extras in (("mbo", EXTRAS - {"dev"} | {""}), ("tests", EXTRAS | {""})):
        asked = project.package_requirements
        declared = {canonicalize_name(r.name) for extra in extras for r in asked.get(extra, ())}
        declared |= tools if folder == "tests" else set()
        for file in sorted((project.root / folder).rglob("*.py")):
            for module in sorted(imported(ast.parse(file.read_text())) - sys.stdlib_module_names - {"mbo", "tests"}):
                found = {canonicalize_name(PARTS.get(owner, owner)) for owner in owners.get(module, [module])}
                if not found & declared:
                    yield f"{file.relative_to(project.root)} imports {module}, which pyproject.toml does not ask for"


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of all absolute imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


# ---------------------------------------------------------------- all files


def files_name_no_place(project: Project) -> Iterator[str]:
    """No index, no mirror, no folder of somebody's machine: these come from the user's own settings."""
    for file in FILES:
        for number, line in enumerate(project.text(file).splitlines(), 1):
            if file == "conda-lock.yml" and line.startswith("  url: "):
                continue  # the channel itself; conda_entries_are_whole looks at these
            if re.search(
                r"\w://|\b[\w-]+\.(com|dev|io|net|org)\b|^\s*-{1,2}(i|f|index|extra-index|find|trusted)\b", line
            ):
                yield f"{file}:{number} names a host or an index: {line.strip()[:80]}"
            if re.search(r"(?<![\w.*])(/(home|mnt|opt|root|srv|tmp|usr|var|work|Users)/|file:|~/)", line):
                yield f"{file}:{number} names a path: {line.strip()[:80]}"


def comments_select_nothing(project: Project) -> Iterator[str]:
    """conda-lock reads '[word]' in a comment as a platform selector and drops the whole line."""
    for line in project.text("environment.yml").splitlines():
        if re.search(r"#.*\[", line):
            yield f"environment.yml: a bracket in a comment: {line.strip()}"


# ---------------------------------------------------------------- the checks, on this project and on broken ones

Check = Callable[[Project], Iterator[str]]
REQUESTS = r"# conda: requests\nrequests==\S+ \\\n(    --hash=\S+(?: \\)?\n)+"  # its whole entry
FAULTS: dict[Check, list[tuple[str, str, str, str]]] = {  # check -> file, pattern, what replaces it, what is found then
    conda_list_is_locked: [
        ("environment.yml", r"- rich >=.*", "- rich >=1000", "rich .* is not >=1000"),
        ("conda-lock.yml", r"- name: polars\n", "- name: bears\n", "polars is not locked for linux-64"),
    ],
    conda_lock_is_closed_and_minimal: [
        ("conda-lock.yml", r"- name: llvmlite\n", "- name: lite\n", "llvmlite is needed"),
        ("environment.yml", r"  - bokeh .*\n  - mat.*\n", "", "matplotlib-base is locked"),
    ],
    conda_versions_fit_together: [
        ("conda-lock.yml", r"(  llvmlite: ')>=", r"\1>=9", "numba on linux-64 needs llvmlite"),
    ],
    conda_entries_are_whole: [
        ("conda-lock.yml", r"sha256: ..", "sha256: ", "has no good sha256"),
        ("conda-lock.yml", r"md5: .*\n", "md5: ''\n", "has no good md5"),
        ("conda-lock.yml", r"conda-forge/linux-64/", "other/linux-64/", "comes from .*/other/"),
        ("conda-lock.yml", r"(?m)^(- name: numba\n  version: )", r"\g<1>9", "numba 9"),
        ("conda-lock.yml", r"(- url: )conda-forge", r"\1defaults", "other channels"),
        ("conda-lock.yml", r"(?m)^version: 1", "version: 2", "another format"),
        ("conda-lock.yml", r"(?s)(package:\n)(- name: .*?\n)(?=- name)", r"\1\2\2", "2 times"),
    ],
    pins_are_whole: [
        ("requirements.lock", r"--hash=sha256:.", "--hash=sha256:", "not a pin with hashes"),
        ("requirements.lock", r"(numpy==\S+) \\\n(    --hash=\S+( \\)?\n)+", r"\1\n", "hashes: numpy"),
        ("requirements-pip.txt", r"chdb==", "chdb>=", "hashes: chdb"),
        ("requirements-pip.txt", r"\n\n", "\n\n-e .\n", "hashes: -e"),
        ("requirements.lock", f"({REQUESTS})", r"\1\1", "requests ; None is there 2 times"),
    ],
    locks_are_of_this_environment: [
        ("environment.yml", r"rich >=14.3", "rich >=14.2", "requirements.lock was made"),
        ("virtual-packages.yml", r"2\.28", "2.17", "requirements-pip.txt was made"),
        ("requirements.lock", r"before: 20", "before: 19", "different days"),
        ("environment.yml", r"  - osx-arm64\n", "", "different platforms"),
    ],
    list_is_pinned: [
        ("requirements-pip.txt", r"nbval==.* \\\n .*\n", "", "nbval is not in requirements-pip.txt"),
        ("requirements.lock", r"typer==\S+", "typer==0.1", "typer 0.1 in requirements.lock is not"),
    ],
    routes_bring_the_same: [
        ("requirements.lock", r"requests==\S+", "requests==1.0", "requests is 1.0, with conda"),
        ("requirements-pip.txt", r"lz4==\S+", "lz4==1.0", "lz4 differs"),
        ("requirements-pip.txt", r"--hash=sha256:.", "--hash=sha256:0", "differs"),
        ("requirements-pip.txt", r"lz4==", "lz5==", "lz5 is in requirements-pip.txt, not in"),
        ("requirements-pip.txt", r"lz4==", "lz5==", "lz4 comes with neither part"),
        ("requirements-pip.txt", r"lz4==", "requests==", "requests comes from conda and from"),
        ("requirements.lock", r"# conda: requests\n", "# pip\n", "requests is not marked"),
    ],
    pins_are_closed_and_minimal: [
        ("requirements.lock", REQUESTS, "", "requests.* is needed, not locked"),
        ("environment.yml", r"  - matplotlib-base .*\n", "", "matplotlib is locked, not needed"),
    ],
    package_asks_for_the_list: [
        ("pyproject.toml", r'"rich>=14.3"', '"rich>=14.3", "attrs"', "attrs is not in"),
        ("pyproject.toml", r'"rich>=14.3"', '"rich>=13"', "asks for rich>=13"),
        ("pyproject.toml", r"uvicorn\[standard\]", "uvicorn", "asks for uvicorn>="),
        ("pyproject.toml", r'    "bokeh.*\n', "", "bokeh is in environment.yml, and nothing"),
        ("pyproject.toml", r"requires = .*", 'requires = ["hatchling"]', "hatchling is not in"),
        ("pyproject.toml", r'python = ">=3.11"', 'python = ">=3.12"', "rules out 3.11"),
        ("pyproject.toml", r'python = ">=3.11"', 'python = ">=3.10"', "older than the lock's"),
        ("pyproject.toml", r"scale = ", "scaling = ", "extras are"),
    ],
    imports_are_declared: [
        ("mbo/records.py", r"\A", "def f():\n    import torch.nn\n", "mbo/records.py imports torch"),
        ("mbo/records.py", r"\A", "from hypothesis import given\n", "mbo/records.py imports hypothesis"),
        ("tests/test_locks.py", r"\A", "import attrs\n", "tests/test_locks.py imports attrs"),
    ],
    files_name_no_place: [
        ("requirements.lock", r"\n\n", "\n\n--index-url x\n", "requirements.lock:7 names a host"),
        ("environment.yml", r"- conda-forge", "- https://mirror/conda-forge", "names a host"),
        ("requirements-pip.txt", r"# Made", "# From example.org; made", "txt:1 names a host"),
        ("conda-lock.yml", r"url: conda-forge", "url: /opt/channel/x", "names a path"),
        ("pyproject.toml", r"\A", "# see ~/mbo\n", "pyproject.toml:1 names a path"),
    ],
    comments_select_nothing: [
        ("environment.yml", r"# tests only", "# [linux] only", "a bracket in a comment"),
    ],
}


@pytest.mark.parametrize("check", FAULTS, ids=lambda check: check.__name__)
def test_project(check):
    assert list(check(Project(ROOT))) == []


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        pytest.param(check, fault, id=f"{check.__name__}-{number}")
        for check, faults in FAULTS.items()
        for number, fault in enumerate(faults)
    ],
)
def test_planted_fault(tmp_path, check, fault):
    file, pattern, instead, finding = fault
    for name in {*FILES, file}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    text, times = re.subn(pattern, instead, (tmp_path / file).read_text(), count=1)
    assert times == 1, "the fault could not be planted"
    (tmp_path / file).write_text(text)
    found = list(check(Project(tmp_path)))
    assert any(re.search(finding, each) for each in found), found
