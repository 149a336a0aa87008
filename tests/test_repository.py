"""What the files around the package say agrees with it, and names nobody's machine."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import zoneaxis

ROOT = Path(__file__).parents[1]

# Written so that no pattern matches its own line.
PRIVATE = {
    "a registry's host": r"index[-_]url|find[-_]links|https?://\S+/[s]imple\b|file:/{3}",
    "a path of one machine": r"(?<![\w.~-])/(?:root|work|home|Users|opt)/\w",
}


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("not a git checkout")
    return [path for name in run.stdout.splitlines() if (path := ROOT / name).is_file()]


def private_lines(text: str) -> list[str]:
    return [
        f"line {number} names {what}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for what, pattern in PRIVATE.items()
        if re.search(pattern, line)
    ]


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert str(citation["version"]) == newest[1] == zoneaxis.__version__


def test_citation_is_complete():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors"} <= set(citation)
    assert {"type", "title", "authors"} <= set(citation["preferred-citation"])


def test_license_is_gpl_3():
    head = (ROOT / "LICENSE").read_text().split("\n\n")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert " ".join(head.split()) == "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007"
    assert project["license"] == citation["license"] == "GPL-3.0-or-later"


def test_no_file_names_a_registry_or_a_machine():
    found = {}
    for path in tracked_files():
        try:
            lines = private_lines(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # a binary file
        if lines:
            found[str(path.relative_to(ROOT))] = lines
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "--index" + "-url https://example.org",
        "extra_index" + "_url = x",
        "https://example.org/" + "simple/numpy",
        "data = Path('/" + "root/data')",
        "cd /" + "work/main",
    ],
)
def test_private_lines_are_seen(line: str):
    assert private_lines(line)


def test_constraints_pin_one_version_each():
    for requirement in constraints():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert re.fullmatch(r"[0-9][0-9a-z.]*", specifier.version), requirement
        assert requirement.url is None, requirement
        assert not requirement.extras, requirement


def test_constraints_cover_the_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in constraints()}
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
