# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the generated pages of docs/ from the catalog and the argument specifications of the roles.

With --check nothing is written; the exit code is 1 when a page is not current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ansible_collections.amdgpu.fleet.plugins.module_utils import _os
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import choose
from ansible_collections.amdgpu.fleet.plugins.module_utils._boot import refused as refusing
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._monitor import rules
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import packaging, place
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import (
    Catalog,
    read_part,
    version_key,
    with_base,
)
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.engines.vllm import offer

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
COMMAND = "make docs"

# The order in which site.yml runs them.
ROLES = (
    "plan",
    "kernel",
    "firmware",
    "driver",
    "rocm",
    "devices",
    "partition",
    "model",
    "vllm",
    "gateway",
    "monitor",
    "mirror",
    "report",
)
# The long form names the plugin or the role that an option belongs to.
ANSIBLE_MARKUP = re.compile(r"\b[COVEM]\((?:[\w.]+#\w+:(?:\w+:)?)?([^()]*)\)")
CODE = re.compile(r"(`[^`]*`)")
ISSUE = re.compile(r"\b([A-Za-z0-9-]+/[A-Za-z0-9_.-]+)#(\d+)")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b(?!\.)")


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def arguments() -> dict[str, dict[str, Any]]:
    """The argument specification of every role."""
    found = {path.parts[-3] for path in ROOT.glob("roles/*/meta/argument_specs.yml")}
    order = [*(role for role in ROLES if role in found), *sorted(found - {*ROLES})]
    return {role: load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"] for role in order}


def profiles(architectures: dict[str, Any]) -> dict[str, Any]:
    """Profiles in the order of their architectures, the CPU last."""
    found = [
        with_base(load(f"roles/plan/files/catalog/profiles/{path.name}"))
        for path in ROOT.glob("roles/plan/files/catalog/profiles/*.yml")
    ]
    number = {gfx: entry["kfd_target_version"] for gfx, entry in architectures.items()}
    return {
        profile["gfx"]: profile
        for profile in sorted(found, key=lambda each: number.get(each["gfx"], sys.maxsize))
    }


# --- hosts

# What _place says of a system, for people.
PLACES = {"host": "host", "guest": "virtual machine", "container": "system container", "wsl": "WSL2"}


def docstring(loader: Any) -> str:
    """The first paragraph of the module of a boot loader."""
    return (sys.modules[loader.detect.__module__].__doc__ or "").split("\n\n")[0]


def hosts() -> dict[str, Any]:
    """What docs/hosts.md is made of: the lists in the code."""
    families: dict[str, list[str]] = {}
    for names, manager in _os.FAMILIES:
        families.setdefault(manager, []).extend(names)
    return {
        "loaders": {name: docstring(loader) for name, loader in choose.LOADERS.items()},
        "refusals": [
            *(each.refusal._replace(whole=True) for each in refusing.SYSTEMS),
            *refusing.LOADERS.values(),
            refusing.PLAIN_LIMINE,
        ],
        "package_managers": {
            name: {"families": families.get(name, []), "packages": name in packaging.MANAGERS}
            for name in _os.MANAGERS
        },
        "places": PLACES,
        "left_to_owner": place.NAMES,
        "loader_cells": ["left alone" if name in place.NAMES else "supported" for name in PLACES],
    }


# What docs/models-that-fit.md is about: product, gfx, how many a host has, and the GiB that vLLM sees of one.
CARDS = (
    ("AMD Instinct MI300X", "gfx942", 8, 192),
    ("AMD Instinct MI355X", "gfx950", 8, 288),
    ("AMD Radeon AI PRO R9700", "gfx1201", 2, 31.86),
    ("Strix Halo with 128 GB", "gfx1151", 1, 112),
)


def models_that_fit() -> dict[str, Any]:
    """What docs/models-that-fit.md is made of."""
    catalog = Catalog()
    release = catalog.vllm["default_version"]
    found = []
    for product, gfx, count, gib in CARDS:
        card = offer.Card(gfx, product, count, int(gib * (1 << 30)), catalog.profile(gfx) or {})
        found.append((card, offer.offers(catalog, card, release)))
    return {"models_that_fit": found, "models_release": release, "usual": offer.USUAL}


class HostTests:
    """How a row of docs/hosts.md was tested."""

    def __init__(self, tested: list[dict[str, Any]]) -> None:
        self._tested = tested

    def __call__(self, name: str) -> str:
        entries = [entry for entry in self._tested if name in entry.get("of", [])]
        if not entries:
            raise KeyError(
                f"no entry of catalog/tested.yml has {name} in its list `of`: say how it was tested"
            )
        words = {"run": "**run**", "emulated": "*emulated*", "not run": "*not run*"}
        return "; ".join(f"{words[entry['how']]}: {entry['what']}" for entry in entries)


# --- text


def code(value: Any) -> str:
    """A value as it is written in YAML."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def outside_code(text: str, change: Callable[[str], str]) -> str:
    return "".join(part if part.startswith("`") else change(part) for part in CODE.split(text))


class Prose:
    """Text of the catalog or of a specification as Markdown: nothing in it may turn into markup by
    accident."""

    def __init__(self, variables: set[str]) -> None:
        names = "|".join(sorted(variables, key=len, reverse=True))
        self._names = re.compile(rf"\b(?:{names})\b(?:(?:\[\])?\.[\w<>]+)*")

    def __call__(self, text: str | list[str] | None) -> str:
        if not text:
            return ""
        joined = " ".join(text) if isinstance(text, list) else " ".join(str(text).split())
        joined = ANSIBLE_MARKUP.sub(r"`\1`", joined)
        joined = outside_code(joined, lambda part: self._names.sub(r"`\g<0>`", part))
        joined = outside_code(joined, lambda part: VARIABLE.sub(r"`\g<0>`", part))
        return outside_code(joined, self._escape)

    @staticmethod
    def _escape(text: str) -> str:
        text = re.sub(r"[*<~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
        return ISSUE.sub(r"[\g<0>](https://github.com/\1/issues/\2)", text)


def placeholders(text: str) -> str:
    """{word}, which a check fills in, as <word>."""
    return re.sub(r"\{(\w+)\}", r"<\1>", str(text))


def how(entry: dict[str, Any]) -> str:
    """What a run makes of a value of a guide; of a figure, the command that takes it."""
    test = entry.get("acceptance")
    command = f" `ansible-playbook amdgpu.fleet.accept -i fleet -e acceptance_tests={test}` takes it."
    return str(entry["how"]) + (command if test else "")


def flat(cells: tuple[Any, ...]) -> list[str]:
    return [str(part) for cell in cells for part in (cell if isinstance(cell, list) else [cell])]


def row(*cells: Any) -> str:
    """One line of a table; a list is several cells. A pipe is escaped in code as well: GitHub takes tables
    apart first."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in flat(cells)) + " |"


def head(*titles: Any) -> str:
    return f"{row(*titles)}\n{row(*('---' for _title in flat(titles)))}"


def marks(name: str, holders: Iterable[Container[str]]) -> list[str]:
    """A mark for each list that has the name."""
    return ["✓" if name in holder else "" for holder in holders]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def condition(when: dict[str, Any] | None) -> str:
    """A condition of the catalog, for people."""
    words = {
        "vllm_at_least": "vLLM {} or later",
        "vllm_below": "vLLM before {}",
        "rocm_at_least": "ROCm {} or later",
        "rocm_below": "ROCm before {}",
        "driver": "driver {}",
        "cpu_vendor": "processor of {}",
        "gpus_above": "more than {} GPUs",
        "products": "{} only",
        "not_products": "not {}",
    }
    parts = []
    for key, value in (when or {}).items():
        text = ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)
        if key == "virtual_function":
            parts.append("virtual functions" if value else "physical GPUs")
        else:
            parts.append(words[key].format(text))
    return ", ".join(parts)


def except_for(unless: dict[str, list[str]] | None) -> str:
    """The exceptions of an option, for people."""
    names = {"model_types": "model types", "quantization": "quantization"}
    return "; ".join(
        f"{names[key]} {', '.join(code(value) for value in values)}" for key, values in (unless or {}).items()
    )


def refused(when: dict[str, Any]) -> str:
    """What a rule of ``refuse`` is about, as Markdown."""
    name = when.get("option") or when["environment"]
    if "in" in when:
        about = f"{code(name)} one of {', '.join(code(value) for value in when['in'])}"
    elif "above" in when:
        about = f"{code(name)} above {code(when['above'])}"
    elif "equals" in when:
        about = code(f"{name}={when['equals']}")
    else:
        about = f"{code(name)}, whatever its value"
    rest = condition({key: value for key, value in when.items() if key.endswith(("_below", "_at_least"))})
    return f"{about} ({rest})" if rest else about


# --- what the templates are given


def described(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The variables that have fields of their own, with the path to those fields."""
    for name, option in options.items():
        if option.get("options"):
            path = f"{prefix}{name}[]" if option["type"] == "list" else f"{prefix}{name}"
            yield path, option["options"]
            yield from described(option["options"], f"{path}.")


def of_type(option: dict[str, Any]) -> str:
    return f"{option['type']} of {option['elements']}" if "elements" in option else option["type"]


def together(entries: Iterable[tuple[str, Any]]) -> list[tuple[list[str], Any]]:
    """Equal entries of several profiles once, with the profiles."""
    groups: list[tuple[list[str], Any]] = []
    for gfx, entry in entries:
        same = [names for names, other in groups if other == entry]
        if same:
            same[0].append(gfx)
        else:
            groups.append(([gfx], entry))
    return groups


def monitoring() -> dict[str, Any]:
    """What docs/monitoring.md is made of: the catalog, and alerts with their texts filled in."""
    catalog = Catalog()
    known = catalog.known_issues
    entries = [
        {part: known.get(each["finding"], {}).get(part, "") for part in ("title", "why", "remedy")} | each
        for each in catalog.monitoring["alerts"]
    ]
    health = catalog.health
    verdicts = {
        rules.name_of_gpu_alert(name): rule["verdict"]
        for name, rule in [
            *health["rules"].items(),
            *((f"log_{k}", rule) for k, rule in health["log"].items()),
        ]
    }
    return {
        "monitoring": catalog.monitoring,
        "catalog_alerts": [
            {
                **each,
                **{part: placeholders(rules.fill(each[part], catalog)) for part in ("expected", "remedy")},
            }
            for each in entries
        ],
        "gpu_alerts": [
            {
                "name": each.name,
                "verdict": verdicts[each.name],
                "finding": each.finding,
                "remedy": each.remedy,
            }
            for each in rules.of_gpus(catalog)
        ],
    }


def context() -> dict[str, Any]:
    gpus, releases, vllm = (
        load("roles/plan/files/catalog/gpus.yml"),
        load("roles/plan/files/catalog/releases.yml"),
        read_part("vllm"),
    )
    known = profiles(gpus["architectures"])
    specifications = arguments()
    issues = load("roles/plan/files/catalog/known_issues.yml")
    drivers = {
        *releases["drivers"]["releases"],
        *(name for entry in releases["rocm"]["releases"].values() for name in entry["drivers"]),
    }
    return {
        "gpus": gpus,
        "releases": releases,
        "vllm": vllm,
        "profiles": known,
        "roles": specifications,
        "issues": issues,
        "issue_groups": list(dict.fromkeys(name.partition(".")[0] for name in issues)),
        "tested": load("roles/plan/files/catalog/tested.yml"),
        "builds": read_part("builds"),
        **load("roles/plan/files/catalog/guides.yml"),
        **hosts(),
        **monitoring(),
        **models_that_fit(),
        "bare_metal": together(
            (gfx, profile["serving"]["environment_bare_metal"]) for gfx, profile in known.items()
        ),
        "opt_ins": together(
            (gfx, {"name": name, **entry})
            for gfx, profile in known.items()
            for name, entry in profile["host"]["kernel"]["opt_in"].items()
        ),
        "kernel": {
            kind: together(
                (gfx, entry) for gfx, profile in known.items() for entry in profile["host"]["kernel"][kind]
            )
            for kind in ("absent", "tolerated")
        },
        "floors": together(
            (gfx, entry) for gfx, profile in known.items() for entry in profile["host"]["minimum_kernel"]
        ),
        "avoided": together(
            (gfx, entry) for gfx, profile in known.items() for entry in profile["host"]["avoid_kernel"]
        ),
        "driver_names": sorted(drivers, key=version_key, reverse=True),
        "acceptance": read_part("acceptance"),
        "rocm_releases": dict(
            sorted(releases["rocm"]["releases"].items(), key=lambda item: version_key(item[0]), reverse=True)
        ),
        "prebuilt": [
            gfx
            for gfx in gpus["architectures"]
            if any(gfx in each["prebuilt_gfx"] for each in vllm["versions"].values())
        ],
    }


def render() -> dict[Path, str]:
    """The text of every page."""
    words = context()
    names = {name for role in words["roles"].values() for name in role["options"]}
    environment = jinja2.Environment(  # noqa: S701 - Markdown; `prose` escapes what needs it
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    helpers: tuple[Callable[..., Any], ...] = (
        anchor, code, condition, described, except_for, head, how, marks, of_type, placeholders, refused, row,
    )  # fmt: skip
    environment.globals |= {helper.__name__: helper for helper in helpers}
    environment.globals["prose"] = Prose(names)
    environment.globals["host_tests"] = HostTests(words["tested"])
    environment.filters |= {"code": code, "mark_in": lambda name, holder: marks(name, [holder])[0]}
    pages = {}
    for template in sorted(environment.list_templates()):
        text = environment.get_template(template).render(words)
        sources = "roles/plan/files/catalog/ and roles/*/meta/argument_specs.yml"
        header = f"<!-- Generated by `{COMMAND}` from {sources}. Do not edit. -->\n\n"
        pages[ROOT / "docs" / template.removesuffix(".j2")] = (
            header + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
        )
    return pages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    options = parser.parse_args()
    stale = [
        (path, text)
        for path, text in render().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if options.check:
            print(f"{path.relative_to(ROOT)} is not current: run {COMMAND}", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
