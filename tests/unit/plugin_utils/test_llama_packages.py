# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp as packages of the distribution: which ones, in which release, and where there are none."""

from __future__ import annotations

import pytest
import tiny_gguf as tiny

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.findings import sentence

FILE = "/srv/models/tiny.gguf"
PROGRAM = "/usr/bin/llama-server"
RELEASE = ["llama.cpp-tools=1:0.7.0+*", "libllama0=1:0.7.0+*"]
VULKAN = {"libggml0-backend-vulkan": "0.27.0-1", "mesa-vulkan-drivers": "26.2.6-1"}
SERVER = {"llama.cpp-tools": "1:0.7.0+dfsg-2", "libllama0": "1:0.7.0+dfsg-2"}
INSTALLED = {**SERVER, **VULKAN}


def of(version):
    """The packages of another release."""
    return {"llama.cpp-tools": version, "libllama0": version, **VULKAN}


FORKY = {"id": "debian", "version": None, "codename": "forky", "name": "Debian GNU/Linux forky/sid", "like": [],
         "ubuntu_codename": None, "debian_codename": None, "package_manager": "apt"}  # fmt: skip
DEBIAN_13 = {**FORKY, "version": "13", "codename": "trixie", "name": "Debian GNU/Linux 13 (trixie)"}
REPOSITORY = {
    "llama_cpp_repository_uri": "https://apt.example/llama",
    "llama_cpp_repository_key_url": "https://apt.example/key.asc",
    "llama_cpp_repository_fingerprint": "CA8BB4727A47B4D09B4EE8969386B48A1A693C5C",
}


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return tiny.facts(tmp_path_factory.mktemp("gguf"), FILE, 4)


@pytest.fixture
def plan(make_plan, gguf):
    """plan(os, packages, variable=...) -> the plan of a host with a GPU and no Podman."""

    def make(os=None, packages=None, gfx=None, podman=None, on_hold=(), **wants):
        def there(gpus, system):
            system["os"] = {**system["os"], **(os or FORKY)}
            system["podman"] = {"version": podman, "init": True, "quadlet": podman, "images": []}
            system["packages"] = {**system["packages"], **(packages or {})}
            system["package_state"]["on_hold"] = list(on_hold)
            system["paths"][FILE] = {
                "exists": True, "directory": False, "model": False, "place": FILE, "gguf": gguf,
            }  # fmt: skip
            if packages:
                system["programs"][PROGRAM] = PROGRAM
            if gfx:
                gpus["gpus"][0]["gfx"] = gfx

        instance = {"name": "chat", "engine": "llama_cpp", "model": FILE}
        return make_plan("strix-halo-128", there, serve_instances=[instance], **wants)

    return make


def said(plan, identifier):
    return [sentence(finding) for finding in plan["findings"] if finding["id"] == identifier]


def installed(plan):
    (found,) = plan["serve"]["installs"]
    return found


def test_a_bare_host_gets_the_server_its_back_end_and_mesa(plan):
    made = plan()
    found = installed(made)
    assert (found["kind"], found["variant"], found["present"], found["venv"], found["container"]) == (
        "venv", "vulkan", False, None, None)  # fmt: skip
    packages = found["packages"]
    assert packages["install"] == [*RELEASE, "libggml0-backend-vulkan", "mesa-vulkan-drivers"]
    assert packages["names"] == packages["install"] and packages["repository"] is None
    assert packages["proof"] == [PROGRAM, "--version"] and "11669" in packages["proof_output"]
    (server,) = made["serve"]["instances"]
    assert server["launch"]["command"] == [PROGRAM] and server["launch"]["told_version"] == "b11669"
    assert not said(made, "llama.program") and not said(made, "llama.packages")


def test_what_is_there_is_not_installed_again(plan):
    found = installed(plan(packages=INSTALLED))
    assert found["present"] and found["packages"]["install"] == []


def test_a_back_end_that_is_missing_is_installed(plan):
    """Without it the server would go on on the CPU."""
    found = installed(plan(packages=SERVER))
    assert found["packages"]["install"] == ["libggml0-backend-vulkan", "mesa-vulkan-drivers"]


def test_each_back_end_has_its_packages(plan):
    hip = installed(plan(llama_cpp_backend="hip", llama_cpp_build="packages", gfx="gfx1030"))
    assert hip["packages"]["install"] == [*RELEASE, "libggml0-backend-hip"]
    cpu = installed(plan(llama_cpp_backend="cpu"))
    assert cpu["packages"]["install"] == RELEASE


def test_the_release_of_the_package_is_what_options_are_held_to(plan):
    newer = {"plan_catalog": {"llama_cpp": {"releases": {
        "0.8.0": {"build": 12001, "date": "2026-12-01", "source": "the test"}}}}}  # fmt: skip
    there = of("1:0.8.0+dfsg-1")
    found = installed(plan(packages=there, **newer))
    assert (found["version"], found["present"]) == ("0.8.0", True)
    assert "12001" in found["packages"]["proof_output"]
    # Asked for, it changes the packages; the options of the plan are those of that release.
    back = installed(plan(packages=there, llama_cpp_version="0.7.0", **newer))
    assert back["packages"]["install"] == RELEASE and "11669" in back["packages"]["proof_output"]


def test_a_release_that_nobody_knows_is_refused_with_its_package(plan):
    made = plan(packages=of("1:0.9.1+dfsg-1"))
    assert "llama.cpp-tools 1:0.9.1+dfsg-1" in said(made, "llama.release")[0]
    # By the number of its build it is known, and stays as it is installed.
    named = plan(packages=of("1:0.9.1+dfsg-1"), llama_cpp_version="b12345")
    assert installed(named)["present"] and "12345" in installed(named)["packages"]["proof_output"]


def test_debian_before_releases_had_names_tells_its_build(plan):
    found = installed(plan(packages=of("10771+dfsg-1")))
    assert found["version"] == "b10771" and found["present"]


@pytest.mark.parametrize(
    "os",
    [
        DEBIAN_13,
        {**FORKY, "version": "12", "codename": "bookworm", "name": "Debian GNU/Linux 12 (bookworm)"},
        {**FORKY, "id": "ubuntu", "version": "24.04", "codename": "noble", "name": "Ubuntu 24.04"},
        {**FORKY, "id": "fedora", "version": "44", "codename": "", "package_manager": "dnf", "name": "Fedora 44"},
    ],
)  # fmt: skip
def test_a_distribution_without_packages_is_told_what_would_do(plan, os):
    made = plan(os, llama_cpp_build="packages")
    (told,) = said(made, "llama.packages")
    assert os["name"] in told and "Debian forky or sid" in told
    assert "llama_cpp_build image" in told and "llama_cpp_repository_uri" in told
    assert installed(made)["packages"] is None
    # Left to itself the plan takes a container there, or says that nothing brings the program.
    (told,) = said(plan(os, serve_kind="venv"), "llama.program")
    assert "llama.cpp-tools libllama0 libggml0-backend-vulkan mesa-vulkan-drivers" in told


def test_a_repository_of_the_site_has_them_for_any_release(plan):
    found = installed(plan(DEBIAN_13, llama_cpp_build="packages", **REPOSITORY))
    assert found["packages"]["repository"] == {
        "name": "amdgpu-fleet-serve",
        "uri": "https://apt.example/llama",
        "suite": "trixie",
        "components": ["main"],
        "key_url": "https://apt.example/key.asc",
        "fingerprint": REPOSITORY["llama_cpp_repository_fingerprint"],
    }
    other = installed(plan(llama_cpp_build="packages", llama_cpp_repository_suite="main", **REPOSITORY))
    assert other["packages"]["repository"]["suite"] == "main"


@pytest.mark.parametrize(
    ("wants", "told"),
    [
        ({"llama_cpp_repository_uri": "https://apt.example"}, "Set llama_cpp_repository_key_url and"),
        ({"llama_cpp_build": "packages", "llama_cpp_program": "/opt/l"}, "set llama_cpp_build to program"),
        ({"llama_cpp_build": "deb"}, "llama_cpp_build"),
        ({"llama_cpp_repository_suite": "a b"}, "the name of a suite"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(plan, wants, told):
    assert told in said(plan(**wants), "inventory.variable")[0]


def test_packages_do_not_go_into_a_container(plan):
    for kind in ("quadlet", "podman"):
        assert said(plan(llama_cpp_build="packages", serve_kind=kind, podman="5.4.2"), "serve.image")
    assert installed(plan(llama_cpp_build="packages", podman="5.4.2"))["kind"] == "venv"
    assert installed(plan(podman="5.4.2"))["kind"] == "quadlet"
    assert installed(plan(podman="5.4.2"))["packages"] is None
    assert "Podman, for llama_cpp_build image" in said(plan(llama_cpp_build="image"), "serve.podman")[0]


def test_a_program_that_somebody_put_there_stays_his(plan, make_plan):
    made = plan(packages={"bash": "5"})
    assert installed(made)["packages"] is None and installed(made)["present"]
    made = plan(llama_cpp_program="/opt/llama/llama-server")
    assert installed(made)["packages"] is None and "/opt/llama/llama-server" in said(made, "llama.program")[0]
    made = plan(llama_cpp_build="program", packages=INSTALLED)
    assert installed(made)["packages"] is None and installed(made)["version"] == "0.7.0"


def test_a_gpu_that_the_package_has_no_code_for(plan):
    made = plan(llama_cpp_build="packages", llama_cpp_backend="hip")
    assert "the package has no code for gfx1151" in said(made, "llama.backend")[0]
    # Vulkan has; the plan takes it by itself.
    assert installed(plan(llama_cpp_build="packages", gfx="gfx1030"))["variant"] == "hip"
    assert installed(plan(llama_cpp_build="packages"))["variant"] == "vulkan"
    # What HIP alone computes on is not left to the CPU or to a driver that nobody measured.
    cdna = said(plan(llama_cpp_build="packages", gfx="gfx942"), "llama.backend")[0]
    assert "the package has no code for gfx942" in cdna and "llama_cpp_build" in cdna
    late = said(plan(llama_cpp_backend="hip", serve_kind="venv"), "llama.backend")
    assert "the package has no code for gfx1151" in late[0]


def test_what_the_site_holds_is_not_changed(plan):
    there = of("1:0.6.0+dfsg-1")
    made = plan(packages=there, on_hold=["llama.cpp-tools"], llama_cpp_version="0.7.0")
    assert "llama.cpp-tools" in said(made, "packages.on_hold")[0]
    assert not said(plan(packages=INSTALLED, on_hold=["llama.cpp-tools"]), "packages.on_hold")


def test_packages_stay_when_the_server_goes(plan, make_plan):
    def units(*paths):
        def there(_gpus, system):
            system["packages"].update(INSTALLED)
            system["serve_units"] = list(paths)

        return make_plan("strix-halo-128", there, serve_state="absent")["serve"]

    llama = "/etc/systemd/system/llama-cpp-chat.service"
    assert set(units(llama)["left_behind"]) == set(INSTALLED)
    # Nobody is told of those of somebody else, and not twice.
    assert units("/etc/systemd/system/vllm-chat.service")["left_behind"] == []
    assert units()["left_behind"] == []


def test_packages_keep_no_other_engine_from_its_container(make_plan, gguf):
    def there(_gpus, system):
        system["podman"] = {"version": None, "init": False, "quadlet": None, "images": []}
        system["paths"][FILE] = {
            "exists": True, "directory": False, "model": False, "place": FILE, "gguf": gguf,
        }  # fmt: skip

    servers = [
        {"name": "large", "model": "/srv/models/chat", "gpus": [0]},
        {"name": "small", "engine": "llama_cpp", "model": FILE, "port": 8001, "gpus": [1]},
    ]
    made = make_plan("mi300x-8", there, serve_instances=servers, llama_cpp_build="packages", **REPOSITORY)
    kinds = {found["engine"]: found["kind"] for found in made["serve"]["installs"]}
    assert kinds["llama_cpp"] == "venv" and kinds["vllm"] in ("quadlet", "podman")
    assert "podman" in made["serve"]["podman"]["packages"]
