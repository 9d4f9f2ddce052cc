# SPDX-License-Identifier: GPL-3.0-or-later
"""A second real engine with no GPU: llama.cpp's server as Debian sid packages it, in an image of its own.

Its back ends are the CPU and Vulkan; Mesa's llvmpipe is a Vulkan device on any machine. llama.cpp leaves
devices that are CPUs out unless GGML_VK_VISIBLE_DEVICES names them, so the test bed sets that where it wants
Vulkan.

Seen in November 2026 on two processors with a load of 13 beside it: the image took 116 s (547 MB). It holds
llama.cpp 0.7.0 (build b11669); its Vulkan device is "llvmpipe (LLVM 22.1.8, 256 bits)". With the GGUF of
real_model.py and its question (43 tokens with the chat template, temperature 0) both back ends answered "The
capital of France is Paris.": the CPU was ready after 2 s and answered in 12 s, Vulkan after 43 s and in 39 s.
"""

from __future__ import annotations

import subprocess

from .machine import CACHE, LABEL, BedError, debian_sources, digest, podman, podman_prefix, step

REPOSITORY_NAME = "localhost/llama-cpp"
# Hosts name this one; the version is a second name, because sid moves and the test bed must not break with it.
IMAGE = f"{REPOSITORY_NAME}:debian"
PORT = 8080
PACKAGES = "llama.cpp,libggml0-backend-vulkan,mesa-vulkan-drivers,ca-certificates"
# llvmpipe is the only Vulkan device of a machine without a GPU.
VULKAN = {"GGML_VK_VISIBLE_DEVICES": "0"}


def prepare() -> None:
    """The image, unless it is there from the same inputs. sid is newer each day: what was built is kept."""
    sources = sid()
    key = digest(sources, PACKAGES)
    if _label("key") == key:
        return
    listed = CACHE / "llama_cpp.sources"
    listed.write_text(sources, encoding="utf-8")
    with step(f"building {IMAGE} from Debian sid"):
        _import(str(listed), key)
    version = llama_cpp_version()
    podman("tag", IMAGE, f"{REPOSITORY_NAME}:{version}")


def llama_cpp_version() -> str:
    """The upstream version of llama.cpp in the image."""
    limits = ("--privileged", "--pids-limit=0", "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000")
    shown = podman("run", "--rm", f"--label={LABEL}=build", *limits, "--entrypoint=dpkg-query", IMAGE,
                   "--show", "--showformat=${source:Upstream-Version}", "llama.cpp").strip()  # fmt: skip
    if not shown:
        raise BedError(
            f"{IMAGE} holds no package llama.cpp: remove the image and run `bed prepare --engine` again"
        )
    return shown.split("+")[0]  # 0.7.0+dfsg


def _label(name: str) -> str:
    shown = f'--format={{{{index .Labels "{LABEL}.{name}"}}}}'
    return podman("image", "inspect", shown, IMAGE, check=False).strip()


def sid() -> str:
    """Sources of Debian sid, which lie where the machine's own do."""
    return _sid(debian_sources("sid"))


def _sid(text: str) -> str:
    """Of the machine's sources only the archive itself: sid has neither updates nor security."""
    stanzas = []
    for stanza in text.split("\n\n"):
        lines = stanza.strip().splitlines()
        suites = next((line.split()[1:] for line in lines if line.startswith("Suites:")), [])
        if "sid" in suites:
            kept = ["Suites: sid" if line.startswith("Suites:") else line for line in lines]
            stanzas.append("\n".join(kept) + "\n")
    if not stanzas:
        raise BedError(
            "this machine's Debian sources name no archive that could have sid: set BED_DEBIAN_SOURCES"
        )
    return "\n".join(stanzas)


def _import(sources: str, key: str) -> None:
    """Streamed into the store, as the image of vLLM is."""
    build = ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={PACKAGES}",
             # A mirror's sid may be older than its file says it is good for.
             "--aptopt=Acquire::Check-Valid-Until \"false\"", "sid", "-", sources]  # fmt: skip
    changes = ['ENTRYPOINT ["llama-server"]', f"EXPOSE {PORT}", f"LABEL {LABEL}.key={key}"]
    load = [
        *podman_prefix(),
        "podman",
        "import",
        "--quiet",
        *(f"--change={change}" for change in changes),
        "-",
        IMAGE,
    ]
    with subprocess.Popen(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as root:
        done = subprocess.run(load, stdin=root.stdout, capture_output=True, text=True, check=False)
        errors = root.communicate()[1]
    if root.returncode or done.returncode:
        podman("rmi", "--force", IMAGE, check=False)
        raise BedError(f"{IMAGE} was not built: {(errors.decode() + done.stderr).strip()[-1500:]}")
