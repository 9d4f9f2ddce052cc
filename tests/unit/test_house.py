# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house that no linter holds: who may import whom, how long things are, what the types catch."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
PACKAGE = "ansible_collections.amdgpu.fleet.plugins"
FILES = sorted(PLUGINS.rglob("*.py"))
LINES_OF_FILE, LINES_OF_FUNCTION, PARAMETERS = 400, 60, 5
# Files that are longer, each with the reason.
LONGER_FILES = {
    "plugins/module_utils/_gpu_table.py": "a table that tools/render_gpu_table.py writes",
    "plugins/module_utils/_inference.py": "one file, because the role serve puts it on hosts",
    "plugins/modules/host_facts.py": "nearly all of it is RETURN, which tools/render_facts.py writes",
}
# What sections of the plan may not be seen by: a section takes what it needs of another as an argument.
NO_SECTION = {"catalog", "distributions", "facts", "findings", "packaging", "wants"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    """Its name below ``plugins``, as ``module_utils._boot.grub``."""
    parts = path.relative_to(PLUGINS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imports(source: str, package: list[str]) -> Iterator[str]:
    """Every module of plugins/ that a file names in an import, wherever the import stands: in a function and
    below TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(PACKAGE + "."):
                    yield alias.name[len(PACKAGE) + 1 :]
        elif isinstance(node, ast.ImportFrom):
            path = node.module.split(".") if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1] + path
            elif (node.module or "").startswith(PACKAGE):
                base = path[len(PACKAGE.split(".")) :]
            else:
                continue
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield whole if whole in MODULES else ".".join(base)


@functools.cache
def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        targets = set(imports(path.read_text(encoding="utf-8"), package))
        edges[name] = {target for target in targets if target in MODULES and target != name}
    return edges


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One cycle of a graph, empty where it has none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges[name]):
            circle = walk(target, [*way, name])
            if circle:
                return circle
        done.add(name)
        return []

    return next((circle for circle in (walk(name, []) for name in sorted(edges)) if circle), [])


def test_the_graph_of_imports_is_read_at_all() -> None:
    edges = graph()
    assert "module_utils._boot.base" in edges["module_utils._boot"]
    assert "plugin_utils._plan.host" in edges["plugin_utils._plan.serve"]
    assert "module_utils._model" in edges["plugin_utils._plan.checks"]
    hidden = "if TYPE_CHECKING:\n    from . import _model\n"
    assert list(imports(hidden, ["module_utils"])) == ["module_utils._model"]
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_no_imports_go_in_a_circle() -> None:
    assert cycle(graph()) == []


def test_the_host_of_a_plan_imports_no_section() -> None:
    own = {name.removeprefix("plugin_utils._plan.") for name in graph()["plugin_utils._plan.host"]}
    assert own <= NO_SECTION
    for name in NO_SECTION:
        functions = [
            node.name for node in ast.walk(parsed(f"plugin_utils._plan.{name}")) if is_function(node)
        ]
        assert "section" not in functions, f"{name} has become a section, and Host imports it"


def is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def too_long(path: Path) -> list[str]:
    """Functions of a file with too many lines or parameters. ``*args`` and ``**words`` are not counted."""
    problems = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in every if argument.arg not in ("self", "cls")]
        if length > LINES_OF_FUNCTION:
            problems.append(f"{relative(path)}: {node.name} has {length} lines")
        if len(names) > PARAMETERS:
            problems.append(f"{relative(path)}: {node.name} has {len(names)} parameters ({', '.join(names)})")
    return problems


def test_functions_are_short_and_take_few_parameters() -> None:
    assert [problem for path in FILES for problem in too_long(path)] == []


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    longer = {name for name, length in lengths.items() if length > LINES_OF_FILE}
    assert longer == set(LONGER_FILES)


@pytest.mark.parametrize("folder", ["module_utils", "plugin_utils"])
def test_internal_utilities_begin_with_an_underscore(folder: str) -> None:
    public = [path.name for path in (PLUGINS / folder).iterdir() if not path.name.startswith("_")]
    assert public == []


def test_a_misspelt_fact_or_variable_fails_the_type_check(tmp_path: Path) -> None:
    """With the options of ``make lint``, from pyproject.toml."""
    source = tmp_path / "misspelt.py"
    source.write_text(
        "from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.host import Host\n"
        "\n"
        "\n"
        "def read(host: Host) -> tuple[object, ...]:\n"
        '    right = (host.system["podman"], host.rocm["driver"], host.wants.serve_start_timeout)\n'
        '    return (*right, host.rocm["podmann"], host.system["podmann"], host.wants.vllm_start_timout)\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "--follow-imports=silent"]
    done = subprocess.run([*mypy, str(source)], cwd=ROOT, capture_output=True, text=True, check=False)
    errors = re.findall(r"misspelt\.py:(\d+): error: (.*)", done.stdout)
    assert [line for line, _text in errors] == ["6", "6", "6"], done.stdout + done.stderr
    assert 'TypedDict "AmdRocm" has no key "podmann"' in done.stdout
    assert 'TypedDict "AmdHost" has no key "podmann"' in done.stdout
    assert '"Wants" has no attribute "vllm_start_timout"' in done.stdout


def test_no_two_test_modules_of_one_run_have_one_name() -> None:
    """``make test`` collects both folders in one process, where pytest knows a module by its name alone."""
    names = [
        path.name
        for folder in ("unit", "integration")
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
    ]
    assert sorted(set(names)) == sorted(names)
