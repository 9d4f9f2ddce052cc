# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan would still fetch from outside of a closed network."""

from __future__ import annotations

from . import model
from .driver import DriverPlan
from .engines import ENGINES
from .host import Host
from .installs import Install
from .model import ModelPlan
from .repository import Repository
from .rocm import RocmPlan
from .serve import ServePlan


def check(host: Host, driver: DriverPlan, rocm: RocmPlan, models: ModelPlan, serve: ServePlan) -> None:
    """Find what would come from outside although there is a mirror. What an inventory gives is inside."""
    wants = host.wants
    if not wants.plan_mirror or not wants.plan_mirror.closed:
        return
    asked = (wants.driver_repository_uri, wants.driver_repository_key_url)
    _check_repository(host, "driver", driver.repository, asked)
    asked = (wants.rocm_repository_uri, wants.rocm_repository_key_url)
    _check_repository(host, "rocm", rocm.repository, asked)
    for install in serve.installs:
        _check_install(host, install)
    _check_models(host, models)
    for server in serve.instances:
        needed = model.tokenizer_files(host, server.model)
        if needed and needed["variable"] not in server.environment:
            what = f"{', '.join(needed['files'])} of the tokenizer of {server.name}"
            _outside(host, what, "model_tiktoken_directory")


def _check_repository(host: Host, role: str, planned: Repository | None, asked: tuple[str, str]) -> None:
    if planned is None or host.wants.plan_mirror.url:
        return
    for address, own, name in zip((planned.uri, planned.key_url), asked, ("uri", "key_url")):
        if not own:
            _outside(host, address, f"plan_mirror.url or {role}_repository_{name}")


def _check_install(host: Host, install: Install) -> None:
    mirror, own = host.wants.plan_mirror, ENGINES[install.engine].own(host.wants)
    venv, image = install.venv, install.container
    if venv and not venv.present and not own.packages:
        if not mirror.pip_index:
            what = f"{', '.join(venv.packages)} from pip's index"
            _outside(host, what, f"plan_mirror.pip_index or {install.engine}_pip_arguments")
        if not mirror.url and venv.pip_arguments:
            _outside(
                host, venv.pip_arguments.split()[-1], f"plan_mirror.url or {install.engine}_pip_arguments"
            )
    inside = mirror.registry or own.image
    if image and not image.present and not inside:
        _outside(
            host,
            image.source,
            f"plan_mirror.registry, {install.engine}_image or {install.engine}_image_archive",
        )


def _check_models(host: Host, models: ModelPlan) -> None:
    wants, mirror = host.wants, host.wants.plan_mirror
    hub = [source.model for source in models.fetch if source.kind == "hub"]
    if not hub:
        return
    if not models.endpoint:
        what = f"{', '.join(hub)} from the public Hub"
        _outside(host, what, "plan_mirror.hub or an archive in model_sources")
    client = host.system["environments"].get(models.client)
    if not (client and client["python"]) and not mirror.pip_index and not wants.model_pip_arguments:
        what = f"{models.client_package} from pip's index"
        _outside(host, what, "plan_mirror.pip_index or model_pip_arguments")


def _outside(host: Host, what: str, variables: str) -> None:
    host.findings.add("mirror.outside", what, "only what the mirror or an archive has", variables=variables)
