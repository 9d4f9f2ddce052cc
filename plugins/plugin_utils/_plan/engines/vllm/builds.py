# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of vLLM is installed or pulled, and what it asks of a host."""

from __future__ import annotations

import hashlib
import re
import typing as t

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan import mirror
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog, version_key
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.wants import INVENTORY

if t.TYPE_CHECKING:
    from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.planner import Host

VENVS = "/opt/vllm"
TAG = re.compile(r"(:[\w.-]+)?(@.*)?$")
RELEASE = re.compile(r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])")
PYTHON = re.compile(r"python(\d+\.\d+)$")


class Build(t.NamedTuple):
    """What is installed or pulled: one release of vLLM for one accelerator."""

    accelerator: str
    version: str
    # Why it is this version.
    reason: str
    variant: str
    # The name that an archive or a registry has it under, and the one that units start.
    image_source: str
    image: str
    image_digest: str
    packages: list[str]
    pip_arguments: str
    python: str
    venv: str
    uv: str
    known: dict[str, t.Any]
    source: str | None

    @property
    def rocm(self) -> str:
        """The release of ROCm that it carries."""
        return str(self.known.get("rocm", "0"))

    def matches(self, condition: dict[str, t.Any]) -> bool:
        """Limits of a catalog entry on the releases of vLLM and of the ROCm it carries: ``*_at_least`` and
        ``*_below``."""
        for name, version in (("vllm", self.version), ("rocm", self.rocm)):
            least, below = condition.get(f"{name}_at_least"), condition.get(f"{name}_below")
            if least and version_key(version) < version_key(least):
                return False
            if below and version_key(version) >= version_key(below):
                return False
        return True


def candidates(wants: dict[str, t.Any], catalog: Catalog) -> dict[str, Build | None]:
    """The build of each accelerator that the wants lead to, ``None`` where the catalog has no such
    release."""
    return {accelerator: _build(accelerator, wants, catalog) for accelerator in ("rocm", "cpu")}


def _build(accelerator: str, wants: dict[str, t.Any], catalog: Catalog) -> Build | None:
    version, reason = _version(accelerator, wants, catalog)
    releases = catalog.vllm["versions" if accelerator == "rocm" else "cpu_versions"]
    release = releases.get(version, {})
    amd = _of_amd(wants["vllm_image"], catalog)
    known: dict[str, t.Any] | None
    if amd:
        variant, known = (
            f"rocm{amd['rocm']}",
            {"rocm": amd["rocm"], "python": catalog.vllm["install"]["python"]},
        )
    elif accelerator == "cpu":
        variant, known = "cpu", release or None
    else:
        variants = release.get("variants", {})
        variant = (
            wants["vllm_variant"]
            or _variant(wants["vllm_image"], variants)
            or release.get("default_variant", "")
        )
        known = variants.get(variant)
    if known is None:
        return None
    source = wants["vllm_image"] or mirror.image(wants, known.get("image") or "")
    digest = wants["vllm_image_digest"] or (not wants["vllm_image"] and known.get("digest")) or ""
    # Environments that an inventory puts together differently are different environments.
    own = [wants[name] for name in ("vllm_packages", "vllm_pip_arguments", "vllm_python")]
    suffix = f"-{hashlib.sha256(repr(own).encode()).hexdigest()[:8]}" if any(own) else ""
    return Build(
        accelerator=accelerator,
        version=version,
        reason=reason,
        variant=variant,
        image_source=source,
        image=_pinned(source, digest),
        image_digest=digest,
        packages=wants["vllm_packages"] or [known.get("pin", "")],
        pip_arguments=mirror.pip_arguments(wants, wants["vllm_pip_arguments"], known.get("index_url") or ""),
        python=wants["vllm_python"] or f"python{known['python']}",
        venv=f"{VENVS}/{version}-{variant}{suffix}",
        uv=wants["vllm_uv"] or f"{VENVS}/uv-{catalog.vllm['install']['installer']['version']}/bin/uv",
        known=known,
        source=amd["source"] if amd else release.get("source"),
    )


def _version(accelerator: str, wants: dict[str, t.Any], catalog: Catalog) -> tuple[str, str]:
    """The release, and why. An image that is named without one is taken for what its tag says: options are
    held to that release."""
    releases = catalog.vllm["versions" if accelerator == "rocm" else "cpu_versions"]
    default = catalog.vllm["default_version"] if accelerator == "rocm" else max(releases, key=version_key)
    amd = _of_amd(wants["vllm_image"], catalog)
    tagged = [release for release in RELEASE.findall(_tag(wants["vllm_image"])) if release in releases]
    if wants["vllm_version"]:
        return wants["vllm_version"], "asked for"
    if amd and accelerator == "rocm":
        return amd["vllm"], "what AMD put into this image"
    if tagged:
        return tagged[-1], "the tag of the image says so"
    own = wants["vllm_image"] or wants["vllm_packages"]
    return (
        default,
        "taken to be the newest; vllm_version says what it is" if own else "default of the catalog",
    )


def _of_amd(image: str, catalog: Catalog) -> dict[str, t.Any] | None:
    """AMD's own images, from whatever registry: their tags follow no rule, so they are listed."""
    path = image.partition("/")[2]
    return next(
        (entry for entry in catalog.vllm["amd_images"] if path and entry["image"].partition("/")[2] == path),
        None,
    )


def lacks(wants: dict[str, t.Any], catalog: Catalog, gfx: str) -> bool:
    """Whether the image that is asked for is one of AMD's without code for an architecture."""
    entry = _of_amd(wants["vllm_image"], catalog)
    if entry is None:
        return False
    family = "cdna" if gfx.startswith("gfx9") else "rdna"
    return gfx in entry.get("without", []) or entry["gpus"] not in ("all", family)


def _tag(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[2]


def _variant(image: str, variants: dict[str, t.Any]) -> str | None:
    """The build that the tag of vLLM's own image ends with."""
    return next((name for name in variants if _tag(image).endswith(f"-{name}")), None)


def _pinned(source: str, digest: str) -> str:
    """A name that never means another image: with it an old unit starts the old image, whatever the tag of
    the registry means by then."""
    if not digest or not source:
        return source
    return f"{TAG.sub('', source)}:{_tag(TAG.sub(lambda found: found.group(1) or '', source)) or 'latest'}-{digest.partition(':')[2][:12]}"


def pull_name(build: Build) -> str:
    """What is pulled. By digest a registry cannot give another image than the one that is meant."""
    return (
        f"{TAG.sub('', build.image_source)}@{build.image_digest}"
        if build.image_digest
        else build.image_source
    )


def unknown(host: Host, accelerator: str) -> None:
    """Say what the catalog has instead."""
    wants, vllm = host.wants, host.catalog.vllm
    releases = vllm["cpu_versions"] if accelerator == "cpu" else vllm["versions"]
    version = _version(accelerator, wants, host.catalog)[0]
    if version not in releases:
        known = ", ".join(sorted(releases, key=version_key, reverse=True))
        host.findings.add(
            "vllm.version", f"{version} for {accelerator}", "a release of the catalog", known=known
        )
    else:
        known = ", ".join(releases[version]["variants"])
        host.findings.add("vllm.variant", wants["vllm_variant"], f"a build of {version}", known=known)


def check_host(host: Host, build: Build, kind: str) -> None:
    """What prebuilt wheels and images ask of a host, besides its GPUs."""
    found = list(misfits(host, build)) if kind == "venv" else []
    machine, built_for = host.rocm["os"]["machine"], host.catalog.vllm["install"]["machine"]
    if (
        build.accelerator == "rocm"
        and machine not in (None, built_for)
        and not (host.wants["vllm_image"] or host.wants["vllm_packages"])
    ):
        why = "wheels and images are built for it alone"
        found.append(
            Misfit(
                machine,
                built_for,
                why,
                "Name an image or wheels of your own with vllm_image or vllm_packages",
            )
        )
    for misfit in found:
        host.findings.add("vllm.wheels", misfit.seen, misfit.expected, why=misfit.why, remedy=misfit.remedy)


class Misfit(t.NamedTuple):
    """Something that wheels ask for and a host does not have."""

    seen: str
    expected: str
    why: str
    remedy: str


def _container(build: Build) -> str:
    """The way around all of it."""
    if build.image:
        return "Serve from a container: install Podman 4.4 or later and leave serve_kind at auto"
    return "Serve from a container: name an image of this build with vllm_image"


def misfits(host: Host, build: Build) -> t.Iterator[Misfit]:
    """Why the wheels of a build do not run on a host. Of packages that an inventory names itself nothing but
    their Python is known."""
    os, default = host.rocm["os"], host.catalog.vllm["default_version"]
    if host.rocm["environments"].get(build.venv, {}).get("checked"):
        return
    yield from _python_misfits(host, build)
    if host.wants["vllm_packages"]:
        return
    needed, there = build.known.get("glibc"), os["glibc"]
    if needed and there and version_key(there) < version_key(needed):
        why = f"the wheels of {build.version} ({build.variant}) were built against {needed}"
        yield Misfit(f"glibc {there}", f"glibc {needed} or later", why, _container(build))
    if build.known.get("needs_system_rocm"):
        release = ".".join(build.rocm.split(".")[:2])
        packages = ", ".join(" or ".join(group) for group in build.known["host_packages"])
        yield Misfit(
            f"{build.version} ({build.variant}) in a virtual environment",
            f"ROCm {release} in /opt/rocm, {packages}",
            "these wheels bring no ROCm along, and no role installs the old packages that they were built "
            "for",
            f"{_container(build)}; or take a build that brings its own, such as that of vLLM {default}",
        )


def _python_misfits(host: Host, build: Build) -> t.Iterator[Misfit]:
    wanted, given = build.known["python"], PYTHON.search(build.python)
    reason = (
        host.catalog.vllm["install"]["reason"].rstrip(".")
        if build.accelerator == "rocm"
        else "the build has wheels for no other"
    )
    if given and given.group(1) != wanted and not host.wants["vllm_packages"]:
        remedy = (
            f"Set vllm_python to a Python {wanted}. Or {_container(build)[0].lower()}{_container(build)[1:]}"
        )
        yield Misfit(f"vllm_python {build.python}", f"Python {wanted}", reason, remedy)
        return
    packaged, named = (host.distribution or {}).get("pythons"), "/" in build.python
    if host.rocm["programs"].get(build.python) or (not named and (packaged is None or wanted in packaged)):
        return
    seen = (
        f"{build.python} is not there"
        if named
        else f"{build.python} is not there, and {host.rocm['os']['name']} has no package of it"
    )
    yield Misfit(
        seen,
        f"Python {wanted}",
        reason,
        f"{_container(build)}; or install a Python {wanted} and name its path in vllm_python",
    )


def venvs(host: Host, build: Build) -> dict[str, t.Any]:
    """What the links name once this build serves: it, and what served before it, to return to. Older
    environments go."""
    there, current = host.rocm["venvs"], build.venv.rpartition("/")[2]
    previous = there["previous"] if there["current"] in (current, None) else there["current"]
    previous = previous if previous in there["found"] else None
    kept = (current, previous, *build.uv.split("/"))
    remove = [name for name in (*there["found"], *there["uv"]) if name not in kept]
    return {
        "current": current,
        "previous": previous,
        "remove": remove,
        "change": there["current"] != current or bool(remove),
    }


def note(host: Host, build: Build) -> None:
    """Why it is this one."""
    source = INVENTORY if host.wants["vllm_version"] else build.source
    host.note("serve", "version", f"{build.version} ({build.variant})", build.reason, source)
