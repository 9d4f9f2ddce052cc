# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make catalog-refresh``: compute what is mechanical, check what is cited, and say what is newer.

Releases of vLLM are those of the catalog. The exit code is 1 where a cited file does not hold what it is
cited
for; with --check nothing is written, and it is 1 as well where a generated file is not current.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from . import architectures, environment, options, recipes, tables
from .cited import outdated, problems
from .render import render, write
from .sdists import fetch
from .source import Source
from .spans import spans

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "roles/plan/files/catalog/engines/vllm"
ABOUT = {
    "options": "Options of `vllm serve`: first and last release, type, choices with first and last, "
    "default of the newest.",
    "environment": "Variables in vLLM's own table, with the type that its parser takes.",
    "quantization": "Methods that the ROCm platform lists.",
    "attention": "Attention backends; rocm: the ROCm platform names it.",
    "parsers": "Parsers of tool calls and of reasoning.",
    "architectures": "Model classes: what each is for, and what its source says of its cache; `gone` are "
    "those that left vLLM, with the last release.",
    "recipes": "vLLM's own recipes as they concern AMD GPUs: `options` for every GPU, `amd` and `cards` "
    "over them.",
}


def compute(roots: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """The generated sections, by file; ``roots`` from the oldest to the newest release."""
    sources = {release: Source(root) for release, root in roots.items()}

    def history(read: Any) -> dict[str, dict[str, Any]]:
        return spans({release: read(source) for release, source in sources.items()})

    def names(read: Any) -> dict[str, dict[str, Any]]:
        return history(lambda source: {name: {} for name in read(source)})

    newest = list(roots)[-1]
    rocm = set(tables.rocm_attention(sources[newest]))
    backends = names(tables.attention)
    return {
        "options": {"releases_read": list(roots), "known_options": history(options.options)},
        "environment": {"known_environment": history(environment.variables)},
        "quantization": {"quantization_history": names(tables.quantization)},
        "attention": {
            "attention_history": {
                name: {**entry, "rocm": True} if name in rocm else entry for name, entry in backends.items()
            }
        },
        "parsers": {
            "parsers": {
                kind: names(lambda source, kind=kind: tables.parsers(source, kind)) for kind in tables.PARSERS
            }
        },
        "architectures": _architectures(sources, history),
        "recipes": {"recipes": recipes.recipes(roots[newest], newest)},
    }


def _architectures(sources: dict[str, Source], history: Any) -> dict[str, Any]:
    found = history(architectures.architectures)
    # A release that a class came back in says so by its table.
    left = architectures.gone(list(sources.values())[-1])
    return {
        "architectures": found,
        "gone_architectures": {name: last for name, last in sorted(left.items()) if name not in found},
    }


def refresh(roots: dict[str, Path], folder: Path, check: bool) -> list[str]:
    """The generated files that are not current; they are written unless only looked at."""
    order = list(roots)
    stale = []
    for name, document in compute(roots).items():
        path = folder / f"{name}.yml"
        releases = order[-1] if name == "recipes" else f"{order[0]} to {order[-1]}"
        text = render(document, releases, ABOUT[name])
        current = path.is_file() and path.read_text(encoding="utf-8") == text
        if not current:
            stale.append(path.name)
        if not check:
            write(path, text)
    return stale


def main() -> int:
    parser = argparse.ArgumentParser(prog="catalog_refresh", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/sdists", help="where sdists are kept")
    wanted = parser.parse_args()
    releases = yaml.safe_load((CATALOG / "releases.yml").read_text(encoding="utf-8"))
    order = sorted(releases["versions"], key=lambda version: [int(part) for part in version.split(".")])
    stale = refresh(
        {version: fetch(version, wanted.cache) for version in order}, CATALOG / "generated", wanted.check
    )
    print(f"{'not current' if wanted.check else 'written'}: {', '.join(stale) or 'nothing'}")
    documents = {
        str(path.relative_to(CATALOG.parents[1])): yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((*CATALOG.glob("*.yml"), *CATALOG.parents[1].glob("profiles/**/*.yml")))
    }
    wrong = [
        f"{name}: {text}" for name, document in documents.items() for text in problems(document, wanted.cache)
    ]
    for text in wrong:
        print(f"cited wrongly: {text}")
    for name, document in documents.items():
        for text in outdated(document, order[-1]):
            print(f"older than its source: {name}: {text}")
    print(newer(releases, order[-1]))
    return 1 if wrong or (wanted.check and stale) else 0


def newer(releases: dict[str, Any], newest: str) -> str:
    """What the package index has that the catalog has not."""
    name, known = releases["install"]["installer"]["name"], releases["install"]["installer"]["version"]
    client, _equals, client_known = releases["hub_client"]["package"].partition("==")
    lines = []
    for package, version in (("vllm", newest), (name, known), (client, client_known)):
        run = subprocess.run(
            [sys.executable, "-m", "pip", "index", "versions", package],
            text=True,
            capture_output=True,
            check=False,
        )
        said = re.match(r"\S+ \(([^)]+)\)", run.stdout)
        latest = said[1] if run.returncode == 0 and said else None
        if latest is None:
            lines.append(f"newer: {package}: the index does not answer")
        elif latest != version:
            lines.append(f"newer: {package} {latest} (the catalog has {version})")
    return "\n".join(lines) or "newer: nothing"


if __name__ == "__main__":
    sys.exit(main())
