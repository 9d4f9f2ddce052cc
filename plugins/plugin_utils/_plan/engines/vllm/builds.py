# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of vLLM is installed or pulled, and what it asks of a host."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from ... import mirror
from ...catalog import Catalog, version_key
from ...host import Host
from ...wants import INVENTORY, Wants
from .. import images
from ..protocol import Build, Image, Links, Venv

VENVS = "/opt/vllm"
RELEASE = re.compile(r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])")
PYTHON = re.compile(r"python(\d+\.\d+)$")


@dataclasses.dataclass(frozen=True)
class VllmBuild(Build):
    """One release of vLLM, as an image and as wheels."""

    image_source: str
    image_digest: str
    packages: list[str]
    pip_arguments: str
    python: str
    venv: str
    uv: str
    # The entry of the catalog.
    known: dict[str, t.Any]

    @property
    def rocm_release(self) -> str:
        """The release of ROCm that it carries."""
        return str(self.known.get("rocm", "0"))

    def matches(self, condition: dict[str, t.Any]) -> bool:
        """Limits of a catalog entry on the releases of vLLM and of the ROCm that it carries."""
        for name, version in (("vllm", self.version), ("rocm", self.rocm_release)):
            least, below = condition.get(f"{name}_at_least"), condition.get(f"{name}_below")
            if least and version_key(version) < version_key(least):
                return False
            if below and version_key(version) >= version_key(below):
                return False
        return True


def candidates(wants: Wants, catalog: Catalog) -> dict[str, VllmBuild | None]:
    """The build of each accelerator that the wants lead to, ``None`` where the catalog has no such
    release."""
    return {accelerator: build_for(accelerator, wants, catalog) for accelerator in ("rocm", "cpu")}


def build_for(accelerator: str, wants: Wants, catalog: Catalog) -> VllmBuild | None:
    """The build of one accelerator."""
    version, reason = _version(accelerator, wants, catalog)
    release = catalog.vllm["versions" if accelerator == "rocm" else "cpu_versions"].get(version, {})
    amd = _of_amd(wants.vllm_image, catalog)
    install = catalog.vllm["install"]
    known: dict[str, t.Any] | None
    if amd:
        variant, known = f"rocm{amd['rocm']}", {"rocm": amd["rocm"], "python": install["python"]}
    elif accelerator == "cpu":
        variant, known = "cpu", release or None
    else:
        variants = release.get("variants", {})
        named = wants.vllm_variant or _variant(wants.vllm_image, variants)
        variant = named or release.get("default_variant", "")
        known = variants.get(variant)
    if known is None:
        return None
    image = wants.vllm_image or mirror.image(wants, known.get("image") or "")
    digest = wants.vllm_image_digest or (not wants.vllm_image and known.get("digest")) or ""
    # Environments that an inventory puts together differently are different environments.
    own = [wants.vllm_packages, wants.vllm_pip_arguments, wants.vllm_python]
    suffix = f"-{hashlib.sha256(repr(own).encode()).hexdigest()[:8]}" if any(own) else ""
    return VllmBuild(
        engine="vllm",
        accelerator=accelerator,
        version=version,
        reason=reason,
        variant=variant,
        source=INVENTORY if wants.vllm_version else amd["source"] if amd else release.get("source"),
        image_source=image,
        image=images.pinned(image, digest),
        image_digest=digest,
        packages=wants.vllm_packages or [known.get("pin", "")],
        pip_arguments=mirror.pip_arguments(wants, wants.vllm_pip_arguments, known.get("index_url") or ""),
        python=wants.vllm_python or f"python{known['python']}",
        venv=f"{VENVS}/{version}-{variant}{suffix}",
        uv=wants.vllm_uv or f"{VENVS}/uv-{install['installer']['version']}/bin/uv",
        known=known,
    )


def _version(accelerator: str, wants: Wants, catalog: Catalog) -> tuple[str, str]:
    """The release, and why. An image that is named without one is taken for what its tag says: options are
    held to that release."""
    releases = catalog.vllm["versions" if accelerator == "rocm" else "cpu_versions"]
    default = catalog.vllm["default_version"] if accelerator == "rocm" else max(releases, key=version_key)
    amd = _of_amd(wants.vllm_image, catalog)
    tagged = [release for release in RELEASE.findall(images.tag(wants.vllm_image)) if release in releases]
    if wants.vllm_version:
        return wants.vllm_version, "asked for"
    if amd and accelerator == "rocm":
        return amd["vllm"], "what AMD put into this image"
    if tagged:
        return tagged[-1], "the tag of the image says so"
    own = wants.vllm_image or wants.vllm_packages
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


def has_code(host: Host) -> bool:
    """Whether the build that is wanted has code for the GPUs of a host, as far as anybody knows."""
    wants, catalog = host.wants, host.catalog
    cpu = wants.serve_accelerator == "cpu" or not host.gpus
    build = build_for("cpu" if cpu else "rocm", wants, catalog)
    if cpu:
        # A GPU that ROCm does not support is no reason to serve from the CPU.
        return wants.serve_accelerator == "cpu" or not host.gpu_facts["gpus"]
    if wants.vllm_image:
        return not lacks(wants.vllm_image, catalog, host.gfx)
    known = catalog.vllm["versions"].get(build.version if build else "", {})
    return bool(wants.vllm_packages) or host.gfx in known.get("prebuilt_gfx", [])


def lacks(image: str, catalog: Catalog, gfx: str) -> bool:
    """Whether the image that is asked for is one of AMD's without code for an architecture."""
    entry = _of_amd(image, catalog)
    if entry is None:
        return False
    family = "cdna" if gfx.startswith("gfx9") else "rdna"
    return gfx in entry.get("without", []) or entry["gpus"] not in ("all", family)


def images_for(catalog: Catalog, gfx: str) -> list[str]:
    """Images that are known to have code for an architecture: vLLM's newest, then AMD's newest."""
    found = []
    for version in sorted(catalog.vllm["versions"], key=version_key, reverse=True):
        release = catalog.vllm["versions"][version]
        variant = release["variants"].get(release["default_variant"], {})
        if gfx in release["prebuilt_gfx"] and variant.get("image"):
            found.append(str(variant["image"]))
            break
    amd = [entry["image"] for entry in catalog.vllm["amd_images"] if not lacks(entry["image"], catalog, gfx)]
    return [*found, *amd[:1]]


def _variant(image: str, variants: dict[str, t.Any]) -> str | None:
    """The build that the tag of vLLM's own image ends with."""
    return next((name for name in variants if images.tag(image).endswith(f"-{name}")), None)


def image(host: Host, build: VllmBuild) -> Image:
    """The image that is pulled or loaded."""
    return images.pulled(
        host,
        build.image,
        build.image_source,
        build.image_digest,
        archive=host.wants.vllm_image_archive,
        # Podman tells no size before a pull. What the wheels take is the least that an image of them can; of
        # an own image nothing is known.
        gib=(not host.wants.vllm_image and build.known.get("disk_gib")) or 0,
        variables="vllm_image, vllm_image_digest, vllm_image_archive or plan_mirror",
    )


def environment(host: Host, build: VllmBuild) -> Venv:
    """The virtual environment that is made with uv."""
    wants = host.wants
    installed = host.system["environments"].get(build.venv)
    installer = "{name}=={version}".format(**host.catalog.vllm["install"]["installer"])
    return Venv(
        path=build.venv,
        # Of packages that an inventory names itself nothing is known.
        gib=(not wants.vllm_packages and build.known.get("disk_gib")) or 0,
        present=bool(installed and installed["vllm"] and installed["checked"]),
        python=build.python,
        packages=build.packages,
        pip_arguments=build.pip_arguments,
        uv=build.uv,
        uv_packages=[] if wants.vllm_uv else [installer],
        uv_pip_arguments=mirror.pip_arguments(wants, wants.vllm_pip_arguments),
        # With a Python or an index that does not fit, a build for other hardware is taken without a word.
        proof="import torch; print('rocm' if torch.version.hip else 'cuda' if torch.version.cuda else 'cpu')",
        proof_output=build.accelerator,
        variables="vllm_packages, vllm_pip_arguments or vllm_python",
    )


def unknown(host: Host, accelerator: str) -> None:
    """Say what the catalog has instead."""
    wants, vllm = host.wants, host.catalog.vllm
    releases = vllm["cpu_versions"] if accelerator == "cpu" else vllm["versions"]
    version = _version(accelerator, wants, host.catalog)[0]
    if version not in releases:
        choices = ", ".join(sorted(releases, key=version_key, reverse=True))
        host.findings.add(
            "vllm.version", f"{version} for {accelerator}", "a release of the catalog", known=choices
        )
    else:
        choices = ", ".join(releases[version]["variants"])
        host.findings.add("vllm.variant", wants.vllm_variant, f"a build of {version}", known=choices)


def check_host(host: Host, build: VllmBuild, kind: str) -> None:
    """What prebuilt wheels and images ask of a host, besides its GPUs."""
    found = list(misfits(host, build)) if kind == "venv" else []
    machine, built_for = host.system["os"]["machine"], host.catalog.vllm["install"]["machine"]
    if (
        build.accelerator == "rocm"
        and machine not in (None, built_for)
        and not (host.wants.vllm_image or host.wants.vllm_packages)
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


def _container(build: VllmBuild) -> str:
    """The way around all of it."""
    if build.image:
        return "Serve from a container: install Podman 4.4 or later and leave serve_kind at auto"
    return "Serve from a container: name an image of this build with vllm_image"


def misfits(host: Host, build: VllmBuild) -> t.Iterator[Misfit]:
    """Why the wheels of a build do not run on a host. Of packages that an inventory names itself nothing but
    their Python is known."""
    os, default = host.system["os"], host.catalog.vllm["default_version"]
    installed = host.system["environments"].get(build.venv)
    if installed and installed["checked"]:
        return
    yield from _python_misfits(host, build)
    if host.wants.vllm_packages:
        return
    needed, there = build.known.get("glibc"), os["glibc"]
    if needed and there and version_key(there) < version_key(needed):
        why = f"the wheels of {build.version} ({build.variant}) were built against {needed}"
        yield Misfit(f"glibc {there}", f"glibc {needed} or later", why, _container(build))
    if build.known.get("needs_system_rocm"):
        release = ".".join(build.rocm_release.split(".")[:2])
        packages = ", ".join(" or ".join(group) for group in build.known["host_packages"])
        yield Misfit(
            f"{build.version} ({build.variant}) in a virtual environment",
            f"ROCm {release} in /opt/rocm, {packages}",
            "these wheels bring no ROCm along, and no role installs the old packages that they were built "
            "for",
            f"{_container(build)}; or take a build that brings its own, such as that of vLLM {default}",
        )


def _python_misfits(host: Host, build: VllmBuild) -> t.Iterator[Misfit]:
    wanted, given = build.known["python"], PYTHON.search(build.python)
    reason = (
        host.catalog.vllm["install"]["reason"].rstrip(".")
        if build.accelerator == "rocm"
        else "the build has wheels for no other"
    )
    if given and given.group(1) != wanted and not host.wants.vllm_packages:
        remedy = (
            f"Set vllm_python to a Python {wanted}. Or {_container(build)[0].lower()}{_container(build)[1:]}"
        )
        yield Misfit(f"vllm_python {build.python}", f"Python {wanted}", reason, remedy)
        return
    packaged, named = (host.distribution or {}).get("pythons"), "/" in build.python
    if host.system["programs"].get(build.python) or (not named and (packaged is None or wanted in packaged)):
        return
    seen = (
        f"{build.python} is not there"
        if named
        else f"{build.python} is not there, and {host.system['os']['name']} has no package of it"
    )
    yield Misfit(
        seen,
        f"Python {wanted}",
        reason,
        f"{_container(build)}; or install a Python {wanted} and name its path in vllm_python",
    )


def links(host: Host, build: VllmBuild) -> Links:
    """What the links name once this build serves: it, and what served before it. Older environments go."""
    found, current = host.system["venvs"], build.venv.rpartition("/")[2]
    served = found["current"]
    previous = found["previous"] if served in (current, None) else served
    previous = previous if previous in found["found"] else None
    kept = (current, previous, *build.uv.split("/"))
    remove = [name for name in (*found["found"], *found["uv"]) if name not in kept]
    return Links(VENVS, current, previous, remove, change=served != current or bool(remove))
