# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image built by Podman from a Containerfile, when an input of it changed and at no other time.

What was built says its inputs itself, in labels. What was made of it (packages, archive, push) stands in a
record beside the log.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import typing as t

from . import _build_sbom, _build_size
from ._write import make_parents, read_text, write, write_text

INPUTS = "io.amdgpu-fleet.build.inputs"
BASE = "io.amdgpu-fleet.build.base_id"
# Where a step finds its jobs and mirrors, what links to wheels and what kernels there are.
INSIDE = "/run/amdgpu-fleet"
_KILLED = re.compile(r"\bKilled\b|signal: killed|exit status 137|signal 9")
_SHOWN_LINES = 3
_END_BYTES = 1 << 16


class ImageError(Exception):
    """One sentence: what failed, where its log is, and what to do."""


class Run(t.Protocol):
    """Run a program: return code, standard output, standard error. With ``log`` its output goes there as it
    comes."""

    def __call__(self, words: t.Sequence[str], log: str = "") -> tuple[int, str, str]: ...


class Wanted(t.NamedTuple):
    """What is asked for."""

    name: str
    containerfile: str
    base: str
    base_pull: str
    labels: dict[str, str]
    exports: dict[str, str]
    # Paths on the host and in the build.
    mounts: list[tuple[str, str]]
    folder: str
    arguments: list[str]
    run_arguments: list[str]
    auth_file: str
    push: str
    push_arguments: list[str]
    archive: str

    @property
    def inputs(self) -> str:
        """One digest of all that decides what is in the image, but for what the name of the base means."""
        text = json.dumps([self.containerfile, self.labels], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Image(t.NamedTuple):
    """An image of the host's store."""

    id: str
    digest: str
    labels: dict[str, str]


class State(t.NamedTuple):
    """What is there, and what of it has to be made."""

    image: t.Optional[Image]
    record: dict[str, t.Any]
    why: str
    steps: list[str]


class Podman:
    """Podman's command line."""

    def __init__(self, run: Run, auth_file: str = "") -> None:
        self._run = run
        self._auth = [f"--authfile={auth_file}"] if auth_file else []

    def image(self, name: str) -> Image | None:
        """``None`` where the store has none of that name."""
        rc, out, err = self._run(["podman", "image", "inspect", name])
        if rc == 125:
            return None
        if rc:
            raise ImageError(f"podman image inspect {name} failed: {_last(err or out)}.")
        try:
            found = json.loads(out)[0]
            return Image(found["Id"], found.get("Digest") or "", found.get("Labels") or {})
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ImageError(
                f"podman image inspect {name} answered what is no description of an image."
            ) from error

    def __call__(self, what: str, *words: str, auth: bool = False, log: str = "") -> str:
        subcommand, *rest = words
        rc, out, err = self._run(["podman", subcommand, *(self._auth if auth else []), *rest], log)
        if rc:
            raise ImageError(f"{what} failed: {_last(err or out)}.")
        return out

    def registry_has(self, reference: str) -> bool:
        """Podman 4 reads the manifest of an image and then says that it is no list: the registry has it."""
        rc, out, err = self._run(["podman", "manifest", "inspect", *self._auth, reference])
        return rc == 0 or "single image" in out + err


def look(wanted: Wanted, run: Run) -> State:
    """What is there of what is wanted. Nothing is changed, and only the registry of a push is asked."""
    podman = Podman(run, wanted.auth_file)
    image, base = podman.image(wanted.name), podman.image(wanted.base)
    record = _record(wanted.folder)
    why = ""
    if image is None:
        why = "there is no image of that name"
    elif image.labels.get(INPUTS) != wanted.inputs:
        why = "it was built from other inputs"
    elif base is not None and image.labels.get(BASE) != base.id:
        why = "its base is another one now"
    if why or image is None:
        return State(
            image,
            record,
            why,
            ["build", "sbom", *(["push"] if wanted.push else []), *(["archive"] if wanted.archive else [])],
        )
    return State(image, record, "", [*_missing(wanted, image, record, podman)])


def _missing(wanted: Wanted, image: Image, record: dict[str, t.Any], podman: Podman) -> t.Iterator[str]:
    """Of an image that is current, what has not been made of it yet."""
    mine = record.get("id") == image.id
    if not mine or not os.path.exists(f"{wanted.folder}/sbom.json"):
        yield "sbom"
    if wanted.push:
        pushed = record.get("pushed", {}).get(wanted.push) if mine else None
        if not pushed or not podman.registry_has(f"{_repository(wanted.push)}@{pushed}"):
            yield "push"
    if wanted.archive:
        archived = record.get("archives", {}).get(wanted.archive) if mine else None
        if (
            not archived
            or not os.path.exists(wanted.archive)
            or os.path.getsize(wanted.archive) != archived["bytes"]
        ):
            yield "archive"


def make(wanted: Wanted, state: State, size: _build_size.Size, run: Run) -> dict[str, t.Any]:
    """Carry out the steps, and return the record."""
    podman = Podman(run, wanted.auth_file)
    os.makedirs(wanted.folder, mode=0o755, exist_ok=True)
    image = state.image
    if "build" in state.steps:
        image = _build(wanted, size, podman)
    if image is None:
        raise AssertionError  # without an image the first step is to build it
    record = state.record if state.record.get("id") == image.id else {"id": image.id}
    # Each step is remembered when it is done: a run that was stopped goes on behind it.
    for step, do in (("sbom", _sbom), ("push", _push), ("archive", _archive)):
        if step in state.steps:
            record = {**record, **do(wanted, image, podman, record)}
            write_text(f"{wanted.folder}/record.json", json.dumps(record, indent=2, sort_keys=True) + "\n")
    return record


def _build(wanted: Wanted, size: _build_size.Size, podman: Podman) -> Image:
    base = podman.image(wanted.base)
    if base is None:
        if podman.image(wanted.base_pull) is None:
            podman(f"Pulling the base {wanted.base_pull}", "pull", "--quiet", wanted.base_pull, auth=True)
        podman(f"Naming the base {wanted.base_pull}", "tag", wanted.base_pull, wanted.base)
        base = podman.image(wanted.base)
    if base is None:
        raise AssertionError  # it has just been named
    inside, file, log = (
        f"{wanted.folder}/inside",
        f"{wanted.folder}/Containerfile",
        f"{wanted.folder}/build.log",
    )
    # The folder is also the context of the build, which is to see nothing else of the host.
    context = f"{wanted.folder}/context"
    for folder in (inside, context):
        os.makedirs(folder, exist_ok=True)
    exports = {**wanted.exports, **{f"JOBS_{step}": str(jobs) for step, jobs in size.jobs.items()}}
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())
    # The address of an index may hold what is nobody's business.
    write(f"{inside}/env", text.encode(), mode=0o600)
    write_text(file, wanted.containerfile)
    labels = {
        **wanted.labels,
        "org.opencontainers.image.base.digest": base.digest or "not known",
        INPUTS: wanted.inputs,
        BASE: base.id,
    }
    limit = [f"--memory={size.memory_bytes}", f"--memory-swap={size.memory_bytes}"] if size.limited else []
    mounts = [(inside, INSIDE), *wanted.mounts]
    words = [
        # Docker's format keeps its id in an archive, and knows all that a Containerfile may say.
        *("--format=docker", "--layers", "--isolation=oci", "--security-opt=label=disable", *limit),
        *(f"--volume={source}:{target}:ro" for source, target in mounts),
        *(f"--label={name}={value}" for name, value in labels.items()),
        *wanted.arguments,
        *(f"--file={file}", f"--tag={wanted.name}", context),
    ]
    try:
        podman("build", "build", *words, log=log)
    except ImageError as error:
        raise ImageError(_why(log, wanted, size)) from error
    image = podman.image(wanted.name)
    if image is None or image.labels.get(INPUTS) != wanted.inputs:
        raise ImageError(
            f"podman build said that it built {wanted.name}, and no such image is there. See {log}."
        )
    return image


def _why(log: str, wanted: Wanted, size: _build_size.Size) -> str:
    """The end of the log in one sentence."""
    lines = _end_of(log)
    end = "; ".join(lines[-_SHOWN_LINES:])[-600:]
    if any(_KILLED.search(line) for line in lines[-60:]):
        jobs = ", ".join(f"{count} of {step}" for step, count in size.jobs.items())
        gib = size.memory_bytes / _build_size.GIB
        return (
            f"{wanted.name} was not built: a program of it was killed, most likely because {gib:.1f} GiB "
            f"were not enough for its jobs ({jobs}). Set build_jobs to fewer, or build on a larger host; "
            f"finished steps are kept. The end of {log}: {end}"
        )
    return (
        f"{wanted.name} was not built. Finished steps are kept, the next run goes on behind them. The end of "
        f"{log}: {end}"
    )


def _end_of(log: str) -> list[str]:
    """Logs of builds grow to many megabytes."""
    try:
        with open(log, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _END_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def _sbom(wanted: Wanted, image: Image, podman: Podman, _record: dict[str, t.Any]) -> dict[str, t.Any]:
    words = ["--rm", "--network=none", *wanted.run_arguments, "--entrypoint=/bin/sh", image.id]
    text = podman(f"Listing the packages in {wanted.name}", "run", *words, "-c", _build_sbom.SCRIPT)
    document = _build_sbom.document({"id": image.id, "name": wanted.name, "labels": image.labels}, text)
    write_text(f"{wanted.folder}/sbom.json", json.dumps(document, indent=1) + "\n")
    return {"packages": len(document["components"])}


def _push(wanted: Wanted, image: Image, podman: Podman, record: dict[str, t.Any]) -> dict[str, t.Any]:
    file = f"{wanted.folder}/digest"
    words = ("--quiet", f"--digestfile={file}", *wanted.push_arguments, image.id, f"docker://{wanted.push}")
    podman(f"Pushing {wanted.push}", "push", *words, auth=True)
    digest = (read_text(file) or "").strip()
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ImageError(f"podman push of {wanted.push} gave no digest, but {digest[:80]!r}.")
    return {"pushed": {**record.get("pushed", {}), wanted.push: digest}}


def _archive(wanted: Wanted, image: Image, podman: Podman, record: dict[str, t.Any]) -> dict[str, t.Any]:
    """Written beside its place first: what has the name is whole."""
    make_parents(wanted.archive)
    partial = f"{wanted.archive}.partial"
    if os.path.exists(partial):
        os.unlink(partial)
    # By its name, which the archive takes along.
    podman(
        f"Writing {wanted.archive}",
        "save",
        "--quiet",
        "--format=docker-archive",
        f"--output={partial}",
        wanted.name,
    )
    digest = hashlib.sha256()
    with open(partial, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    entry = {"bytes": os.path.getsize(partial), "sha256": digest.hexdigest()}
    os.replace(partial, wanted.archive)
    return {"archives": {**record.get("archives", {}), wanted.archive: entry}}


def remove(wanted: Wanted, run: Run, check_mode: bool) -> list[str]:
    """What is taken away: the image, its archives, and the folder with log and record."""
    podman, record = Podman(run), _record(wanted.folder)
    gone = []
    if podman.image(wanted.name) is not None:
        gone.append(wanted.name)
        if not check_mode:
            podman(f"Removing {wanted.name}", "rmi", wanted.name)
    archives = sorted({*record.get("archives", {}), *([wanted.archive] if wanted.archive else [])})
    files = [
        f"{wanted.folder}/{name}"
        for name in ("record.json", "sbom.json", "build.log", "digest", "Containerfile", "inside/env")
    ]
    for path in (*archives, *files):
        if os.path.exists(path):
            gone.append(path)
            if not check_mode:
                os.unlink(path)
    for folder in ("inside", "context", ""):
        path = f"{wanted.folder}/{folder}".rstrip("/")
        if os.path.isdir(path) and not check_mode and not os.listdir(path):
            os.rmdir(path)
    return gone


def answer(wanted: Wanted, image: Image | None, record: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a host that serves is told: where the image comes from, and its digest there."""
    mine = image is not None and record.get("id") == image.id
    pushed = record.get("pushed", {}).get(wanted.push) if mine else None
    archived = record.get("archives", {}).get(wanted.archive) if mine else None
    return {
        "image": wanted.name,
        "image_id": f"sha256:{image.id}" if image else None,
        "inputs": wanted.inputs,
        "reference": f"{_repository(wanted.push)}@{pushed}" if pushed else None,
        "archive": {"path": wanted.archive, **archived} if archived else None,
        "sbom": f"{wanted.folder}/sbom.json" if mine else None,
        "packages": record.get("packages") if mine else None,
        "labels": image.labels if image else {},
    }


def _repository(reference: str) -> str:
    """A reference without its tag; a port is no tag."""
    head, slash, tail = reference.partition("@")[0].rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"


def _record(folder: str) -> dict[str, t.Any]:
    """What was made before; empty where nobody knows."""
    try:
        record = json.loads(read_text(f"{folder}/record.json") or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _last(text: str) -> str:
    """The line that says what was wrong. Behind the one of an unknown argument comes a hint at the help."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error:")]
    return ([*lines, *errors] or ["no reason was given"])[-1].rstrip(".")[-500:]
