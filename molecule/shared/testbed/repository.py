# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed package repository with AMD's layout, full of small stand-ins: real apt, pins and signatures, no
download."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .distribution import INBOX_MODULE, inbox_module_fields
from .machine import CACHE, digest, empty, run, step
from .writer import kernel_module

FOLDER = CACHE / "repository"
SECRET = CACHE / "repository-key.asc"
OWNER = "amdgpu-fleet test bed"
LLAMA_SERVER = Path(__file__).with_name("llama_stand_in.py")
KEY_PATHS = ("rocm.gpg.key", "rocm/rocm.gpg.key", "rocm/gpg/packages.gpg")

DRIVER = "7.1.3.31500000"
ROCM = "10.0.0"
KERNEL = "7.2.12+deb13-amd64"
OTHER_KERNEL = (
    "6.1.0-10-amd64"  # of the virtual machine; older than its own, so that the next boot is not its
)
UNSIGNED = "amdrocm-unsigned10.0"  # one package that dnf must refuse
KERNEL_EL = "5.14.0-570.12.1.el9_6.x86_64"


@dataclass(frozen=True)
class Package:
    """A stand-in Debian package."""

    name: str
    version: str
    depends: str = ""
    files: dict[str, str | bytes] = field(default_factory=dict)
    postinst: str = ""
    prerm: str = ""
    provides: str = ""

    def write(self, folder: Path) -> None:
        """Build the .deb into `folder`."""
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            control = root / "DEBIAN" / "control"
            control.parent.mkdir(mode=0o755)
            fields = {
                "Package": self.name,
                "Version": self.version,
                "Architecture": "amd64",
                "Maintainer": f"{OWNER} <root@localhost>",
                "Depends": self.depends,
                "Description": f"stand-in for {self.name}",
            }
            control.write_text(
                "".join(f"{key}: {value}\n" for key, value in fields.items() if value), encoding="utf-8"
            )
            for name, script in (("postinst", self.postinst), ("prerm", self.prerm)):
                if script:
                    (root / "DEBIAN" / name).write_text(f"#!/bin/sh\nset -e\n{script}", encoding="utf-8")
                    (root / "DEBIAN" / name).chmod(0o755)
            for path, content in self.files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                data = content.encode() if isinstance(content, str) else content
                (root / path).write_bytes(data)
                (root / path).chmod(0o755 if data.startswith(b"#!") else 0o644)
            folder.mkdir(parents=True, exist_ok=True)
            file = f"{self.name}_{self.version.split(':')[-1]}_amd64.deb"
            run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, folder / file])

    def write_rpm(self, folder: Path) -> None:
        """Build the .rpm into `folder`."""
        epoch, _between, full = self.version.rpartition(":")
        version, _between, release = full.partition("-")
        # Nothing is looked for in the files: the stand-ins name what they need.
        tags = {
            "Name": self.name,
            "Epoch": epoch,
            "Version": version,
            "Release": release,
            "Summary": f"stand-in for {self.name}",
            "License": "GPL-3.0-or-later",
            "AutoReqProv": "no",
            "Requires": self.depends.replace("(", "").replace(")", ""),
            "Provides": self.provides,
        }
        with tempfile.TemporaryDirectory() as scratch:
            root, spec = Path(scratch) / "root", Path(scratch) / "package.spec"
            for path, content in self.files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                data = content.encode() if isinstance(content, str) else content
                (root / path).write_bytes(data)
                (root / path).chmod(0o755 if data.startswith(b"#!") else 0o644)
            lines = [f"{tag}: {value}" for tag, value in tags.items() if value]
            lines += [
                "%description",
                "Stand-in.",
                "%install",
                f"mkdir -p %{{buildroot}}; cp -a {root}/. %{{buildroot}} || :",
            ]
            lines += ["%post", self.postinst] if self.postinst else []
            lines += ["%preun", self.prerm] if self.prerm else []
            lines += ["%files", *(f'"/{path}"' for path in self.files)]
            spec.write_text("\n".join([*lines, ""]), encoding="utf-8")
            root.mkdir(exist_ok=True)
            settings = {"_topdir": scratch, "_rpmdir": folder, "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
                        "__os_install_post": "%{nil}", "_binary_payload": "w0.gzdio"}  # fmt: skip
            words = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
            run(["rpmbuild", "-bb", "--quiet", "--target", "x86_64", *words, spec])


def _driver(suffix: str, source: Path | None = None) -> list[Package]:
    """amdgpu-dkms: "builds" its module for the running kernel as DKMS lays it down, so that the next boot
    loads it.

    With the folder of a real source it leaves that to the real DKMS.
    """
    build = f"2390945.{suffix}"
    name = f"amdgpu-{DRIVER.rpartition('.')[0]}-{build}"
    version = name.removeprefix("amdgpu-")
    modules = ("amdttm", "amdgpu") if source else ("amdgpu",)
    configuration = f'PACKAGE_NAME="amdgpu"\nPACKAGE_VERSION="{version}"\nAUTOINSTALL="yes"\n' + "".join(
        f'BUILT_MODULE_NAME[{index}]="{module}"\nDEST_MODULE_LOCATION[{index}]="/updates/dkms"\n'
        for index, module in enumerate(modules)
    )
    files: dict[str, str | bytes] = {
        f"usr/src/{name}/dkms.conf": configuration,
        f"usr/src/{name}/release.h": f'#define DRIVER_RELEASE "{DRIVER}"\n',
    }
    postinst = f'[ "$1" = configure ] || exit 0\ndkms install {version}\n'
    prerm = f'case "$1" in remove|upgrade) dkms remove {version} ;; esac\n'
    if source:
        files |= {f"usr/src/{name}/{file.name}": file.read_bytes() for file in source.iterdir()}
        # What dh_dkms writes into a package's scripts.
        postinst = f'[ "$1" = configure ] || exit 0\n/usr/lib/dkms/common.postinst amdgpu {version} /usr/share/amdgpu-dkms "" "$2"\n'
        prerm = f'case "$1" in remove|upgrade|deconfigure) dkms remove -m amdgpu -v {version} --all ;; esac\n'
    return [
        Package(
            "amdgpu-dkms",
            f"1:{DRIVER}-{build}",
            depends="amdgpu-dkms-firmware, dkms",
            files=files,
            postinst=postinst,
            prerm=prerm,
        ),
        Package(
            "amdgpu-dkms-firmware",
            f"1:31.50.0.0.31500000-{build}",
            files={"lib/firmware/updates/amdgpu/README": "firmware\n"},
        ),
    ]


def _rocm() -> list[Package]:
    version, core = f"{ROCM}-4", "opt/rocm/core-10.0"
    amd_smi = (
        "#!/bin/sh\n"
        'driver=$(cat /sys/module/amdgpu/version 2>/dev/null || echo "Linuxversion$(cat /proc/sys/kernel/osrelease)")\n'
        f'echo "AMDSMI Tool: 27.0.0+standin | ROCm version: {ROCM} | amdgpu version: $driver"\n'
    )
    alternatives = "".join(
        f"update-alternatives --install {link} {name} /{core}{target} 100\n"
        for link, name, target in (
            ("/opt/rocm/core", "rocm-core", ""),
            ("/opt/rocm/core-10", "rocm-core-10", ""),
            ("/opt/rocm/bin", "rocm-bin", "/bin"),
            ("/usr/bin/amd-smi", "amd-smi", "/bin/amd-smi"),
        )
    )
    base = f"amdrocm-base10.0 (= {version})"
    return [
        Package("amdrocm-base10.0", version, files={f"{core}/.info/version": f"{ROCM}\n"}),
        Package(
            "amdrocm-sysdeps10.0",
            version,
            depends=base,
            files={f"{core}/lib/rocm_sysdeps/README": "libraries\n"},
        ),
        Package(
            "amdrocm-amdsmi10.0",
            version,
            depends=f"amdrocm-sysdeps10.0, {base}",
            files={f"{core}/bin/amd-smi": amd_smi},
        ),
        *(
            # Only amdrocm-core's postinst makes the alternatives: with the runtime alone nothing is in PATH.
            Package(
                f"amdrocm-core10.0-{gfx}",
                version,
                depends=f"{base}, amdrocm-amdsmi10.0",
                postinst=alternatives,
            )
            for gfx in ("gfx942", "gfx950", "gfx90a", "gfx1100", "gfx1151", "gfx1200", "gfx1201")
        ),
    ]


def _legacy_rocm(suffix: str) -> list[Package]:
    """A little of ROCm 7.2.4, and a package of somebody else that needs it."""
    release, core = f"70204-93~{suffix}", "opt/rocm-7.2.4"
    alternative = "update-alternatives --install /opt/rocm rocm /opt/rocm-7.2.4 70204\n"
    return [
        Package(
            "rocm-core",
            f"7.2.4.{release}",
            files={f"{core}/.info/version": "7.2.4-93\n"},
            postinst=alternative,
            prerm="update-alternatives --remove rocm /opt/rocm-7.2.4\n",
        ),
        Package(
            "hip-runtime-amd",
            f"7.2.53211.{release}",
            depends="rocm-core",
            files={f"{core}/lib/libamdhip64.so.7": "library\n"},
        ),
        Package("rocm-hip-runtime", f"7.2.4.{release}", depends="hip-runtime-amd"),
        Package("site-solver", "1.0-1", depends="hip-runtime-amd"),
    ]


_DKMS = r"""#!/usr/bin/python3
# Stand-in for dkms: same tree below /var/lib/dkms, same `status` lines; "building" writes a module without code.
import pathlib, shutil, struct, sys
tree, release = pathlib.Path("/var/lib/dkms/amdgpu"), pathlib.Path("/proc/sys/kernel/osrelease").read_text().strip()
sys.path.insert(0, "/usr/lib/bed")
from testbed.distribution import dkms_module_fields
from testbed.writer import kernel_module
command, *words = [word for word in sys.argv[1:] if not word.startswith("-")] or ["status"]
if command == "status":
    for module in sorted(tree.glob("*/*/x86_64/module/amdgpu.ko")):
        version, kernel = module.parts[-5], module.parts[-4]
        installed = pathlib.Path(f"/lib/modules/{kernel}/updates/dkms/amdgpu.ko").exists()
        print(f"amdgpu/{version}, {kernel}, x86_64: {'installed' if installed else 'built'}")
elif (command, len(words)) in (("install", 1), ("autoinstall", 1)):
    version = words[0]
    if command == "autoinstall":
        (release,), (source,) = words, pathlib.Path("/usr/src").glob("amdgpu-*")
        version = source.name.removeprefix("amdgpu-")
    driver = pathlib.Path(f"/usr/src/amdgpu-{version}/release.h").read_text().split('"')[1]
    refused = pathlib.Path("/etc/bed-dkms-refuses")
    if refused.exists() and release in refused.read_text().split():
        log = tree / version / "build/make.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"DKMS make.log for amdgpu-{version} for kernel {release} (x86_64)\nerror: implicit declaration of function\n")
        print(f"Error! Bad return status for module build on kernel: {release} (x86_64)", file=sys.stderr)
        print(f"Consult {log} for more information.", file=sys.stderr)
        sys.exit(10)
    shutil.rmtree(tree / version / "build", ignore_errors=True)
    for path in (tree / version / release / "x86_64/module", pathlib.Path(f"/lib/modules/{release}/updates/dkms")):
        path.mkdir(parents=True, exist_ok=True)
        (path / "amdgpu.ko").write_bytes(kernel_module(dkms_module_fields(release, driver)))
    links = {tree / version / "source": f"/usr/src/amdgpu-{version}", tree / f"kernel-{release}-x86_64": f"{version}/{release}/x86_64"}
    for link, target in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
elif command == "remove" and words:
    for link in tree.glob("kernel-*"):
        if link.readlink().parts[0] == words[0]:
            link.unlink()
    shutil.rmtree(tree / words[0], ignore_errors=True)
    for path in pathlib.Path("/lib/modules").glob("*/updates/dkms/amdgpu.ko"):
        path.unlink()
else:
    sys.exit(f"the stand-in dkms does not know {' '.join(sys.argv[1:])}")
"""


# What its source says of these two commands (ROCm/container-toolkit cmd/amd-ctk/cdi, internal/cdi); of the
# rest there is nothing.
_AMD_CTK = r"""#!/usr/bin/python3
# Stand-in for amd-ctk.
import json, os, pathlib, stat, sys
def node(path):
    info = os.stat(path)
    numbers = {"major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev), "uid": info.st_uid, "gid": info.st_gid}
    return {"path": str(path), "type": "c", **numbers, "fileMode": stat.S_IMODE(info.st_mode), "permissions": "rw"}
def named(name, nodes):
    return {"name": name, "containerEdits": {"deviceNodes": [*map(node, nodes), node("/dev/kfd")]}}
# Nodes for partitions that a GPU could have, and has not, are there too.
found = {path.name for path in pathlib.Path("/sys/bus/pci/devices").glob("*/drm/renderD*")}
renders = [pathlib.Path("/dev/dri", name) for name in sorted(found, key=lambda name: int(name[7:]))]
devices = [named(str(number), [path]) for number, path in enumerate(renders)] + [named("all", renders)]
spec = {"cdiVersion": "0.6.0", "kind": "amd.com/gpu", "devices": devices}
words, (option, _, file) = sys.argv[1:3], sys.argv[3].partition("=")
if words == ["cdi", "generate"] and option == "--output":
    pathlib.Path(file).write_text(json.dumps(spec) + "\n")
elif words == ["cdi", "validate"] and option == "--path":
    if not os.path.exists(file):
        sys.exit(f"validating CDI spec: open {file}: no such file or directory")
    print(f"Validating CDI spec: {file}")
    valid = json.loads(pathlib.Path(file).read_text()) == spec
    print("CDI spec is valid" if valid else "CDI spec is invalid\nPlease regenerate CDI spec")
else:
    sys.exit(f"the stand-in amd-ctk does not know {sys.argv[1:]}")
"""


def _driver_el(suffix: str) -> list[Package]:
    """The same for EL: rpm calls its scripts with the number of versions that stay, and has no
    `configure`."""
    dkms, firmware = _driver(suffix)
    version = f"{DRIVER.rpartition('.')[0]}-2390945.{suffix}"
    installed = replace(
        dkms,
        postinst=f"dkms install {version}\n",
        prerm=f'if [ "$1" = 0 ]; then dkms remove {version}; fi\n',
    )
    return [installed, firmware]


def _rocm_el() -> list[Package]:
    packages = [*_rocm(), Package(UNSIGNED, f"{ROCM}-4")]
    return [
        replace(package, version=f"{package.version}.el9", depends=package.depends.replace("-4", "-4.el9"))
        for package in packages
    ]


def _baseos() -> list[Package]:
    """What a host needs from EL itself. The emulated host has an empty rpm database below a Debian: bash
    stands for its shell."""
    version = KERNEL_EL.removesuffix(".x86_64")
    headers = {f"usr/src/kernels/{KERNEL_EL}/Makefile": "\n", f"lib/modules/{KERNEL_EL}/build/Makefile": "\n"}
    return [
        Package("bash", "5.1.8-9.el9", provides="/bin/sh, /usr/bin/bash"),
        Package("rocky-release", "9.6-1.3.el9", provides="system-release = 9.6"),
        Package("kernel-devel", version, files=headers),
        Package("kernel-headers", version, files={"usr/include/bed/version.h": "\n"}),
        Package("kernel-devel-matched", version, depends=f"kernel-devel = {version}"),
        # What an upgrade would bring.
        *(
            Package(name, "5.14.0-611.5.1.el9_7")
            for name in ("kernel-core", "kernel-devel", "kernel-devel-matched")
        ),
        Package("libatomic", "11.5.0-5.el9", files={"usr/lib64/bed/libatomic": "\n"}),
        Package("libquadmath", "11.5.0-5.el9", files={"usr/lib64/bed/libquadmath": "\n"}),
        Package("python3-dnf-plugin-versionlock", "4.3.0-20.el9"),
    ]


def _epel() -> list[Package]:
    return [Package("dkms", "3.2.2-1.el9", files={"usr/sbin/dkms": _DKMS})]


# What acceptance tests run: it prints what the real ones print (acceptance.py), as /etc/bed-acceptance says.
_TEST = """#!/usr/bin/python3
import sys
sys.path.insert(0, "/usr/lib/bed")
from testbed import acceptance
sys.exit(acceptance.main(sys.argv))
"""


def _acceptance() -> list[Package]:
    extras = "opt/rocm/extras-7/bin"
    return [
        Package("amdrocm7-rvs", "7.14.0-1", files={f"{extras}/rvs": _TEST, f"{extras}/TransferBench": _TEST}),
        Package("amdrocm-rccl-test", "10.0.0-4", files={"usr/bin/all_reduce_perf": _TEST}),
        Package("rocm-bandwidth-test", "2.6.0-1", files={"usr/bin/rocm-bandwidth-test": _TEST}),
    ]


def _debian() -> list[Package]:
    """What a host needs from its distribution for the driver, without a compiler behind it."""
    releases = ("6.1.0-40-amd64", "6.12.57+deb13-amd64", KERNEL)
    return [
        Package("firmware-amd-graphics", "20260110-1", files={"lib/firmware/amdgpu/README": "firmware\n"}),
        Package("firmware-amd-graphics", "20251125-1", files={"lib/firmware/amdgpu/README": "firmware\n"}),
        Package("dkms", "3.9.0-1", files={"usr/sbin/dkms": _DKMS}),
        Package("amd-container-toolkit", "1.3.0", files={"usr/bin/amd-ctk": _AMD_CTK}),
        *_acceptance(),
        # Older than Debian's own: for hosts that cannot reach those.
        *(Package(name, "0~bed") for name in ("libatomic1", "libquadmath0")),
        *(
            Package(
                f"linux-headers-{release}", "99.1-1", files={f"lib/modules/{release}/build/Makefile": "\n"}
            )
            for release in releases
        ),
    ]


def _backports() -> list[Package]:
    """A newer kernel, which the next boot starts."""
    version = "7.2.12-1~bpo13+1"
    return [
        Package(
            f"linux-image-{KERNEL}",
            version,
            files={
                f"boot/vmlinuz-{KERNEL}": "kernel image of the test bed\n",
                f"boot/config-{KERNEL}": "CONFIG_DRM_AMDGPU=m\nCONFIG_HSA_AMD=y\nCONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n",
                f"lib/modules/{KERNEL}/modules.builtin": "\n",
                f"lib/modules/{KERNEL}/{INBOX_MODULE}": kernel_module(inbox_module_fields(KERNEL)),
            },
            postinst=f"echo initramfs > /boot/initrd.img-{KERNEL}\nif [ -x /usr/sbin/update-grub ]; then update-grub; fi\n",
        ),
        Package("linux-image-amd64", version, depends=f"linux-image-{KERNEL}"),
        Package("linux-headers-amd64", version, depends=f"linux-headers-{KERNEL}"),
    ]


def _llama_of_a_site() -> list[Package]:
    """What a site packages itself for a release of Debian without llama.cpp, as Debian names and counts it."""
    version = "1:0.7.0+dfsg-2"
    program = "#!/usr/bin/python3\n" + LLAMA_SERVER.read_text(encoding="utf-8")
    tools = Package(
        "llama.cpp-tools",
        version,
        depends=f"libllama0 (= {version}), python3",
        files={"usr/bin/llama-server": program},
    )
    # A newer one, which is not the release that was asked for.
    newer = "1:0.9.9+dfsg-1"
    return [
        tools,
        Package("libllama0", version),
        replace(tools, version=newer, depends=f"libllama0 (= {newer}), python3"),
        Package("libllama0", newer),
    ]


def repositories() -> dict[str, dict[str, list[Package]]]:
    """Folder -> suite -> packages."""
    return {
        "amdgpu/31.50/ubuntu": {"jammy": _driver("22.04"), "noble": _driver("24.04")},
        "rocm/apt/7.2.4": {"jammy": _legacy_rocm("22.04")},
        "rocm/core/packages/debian12": {"stable": _rocm()},
        "rocm/core/packages/debian13": {"stable": _rocm()},
        "debian": {"bookworm": _debian(), "trixie": _debian(), "trixie-backports": _backports()},
        "site/llama": {"trixie": _llama_of_a_site()},
    }


def rpm_repositories() -> dict[str, list[Package]]:
    """Folder -> packages; AMD's two, and EL's own."""
    return {
        "amdgpu/31.50/el/9.6/main/x86_64": _driver_el("el9"),
        "rocm/core/packages/rhel9/x86_64": _rocm_el(),
        "el/9/baseos": _baseos(),
        "el/9/crb": [],
        "el/9/epel": _epel(),
    }


def build_for_vm(folder: Path, source: Path, kernel: Path) -> None:
    """The repository of the virtual machine: the driver with a source that DKMS compiles, and one more
    kernel."""
    publish(
        folder,
        lambda: {
            "amdgpu/31.50/ubuntu": {"jammy": [*_driver("22.04", source), _kernel(OTHER_KERNEL, kernel)]}
        },
        [*_sources("repository"), source, kernel],
    )


def _kernel(release: str, image: Path) -> Package:
    """A kernel package as the boot loader sees one: an image in /boot, and the hooks of /etc/kernel that
    Debian's own runs.

    Without modules it needs no initramfs, which takes the machine a minute.
    """
    return Package(
        f"linux-image-{release}",
        "6.1.0-1",
        files={f"boot/vmlinuz-{release}": image.read_bytes(), f"boot/config-{release}": "CONFIG_RD_ZSTD=y\n"},
        postinst=(
            '[ "$1" = configure ] || exit 0\nexport DEB_MAINT_PARAMS="$*" INITRD=No\n'
            f"run-parts --report --exit-on-error --arg={release} --arg=/boot/vmlinuz-{release} "
            f"/etc/kernel/postinst.d\n"
        ),
    )


def build() -> None:
    """Build all repositories of the emulated hosts, once per version of this file."""
    publish(
        FOLDER,
        repositories,
        _sources("repository", "distribution", "writer", LLAMA_SERVER.stem),
        rpm_repositories,
    )


def _sources(*names: str) -> list[Path]:
    return [Path(__file__).parent / f"{name}.py" for name in names]


def publish(
    folder: Path,
    contents: Callable[[], dict[str, dict[str, list[Package]]]],
    sources: Sequence[Path],
    rpms: Callable[[], dict[str, list[Package]]] = dict,
) -> None:
    """Build and sign the repositories of `contents` in a folder, once per version of what they are made
    from."""
    stamp, key = folder / "built-from", digest(*sources)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    with step("building the package repository"), tempfile.TemporaryDirectory(prefix="bed-gpg-") as home:
        empty(folder)
        os.environ["GNUPGHOME"] = home  # a short path: gpg-agent's socket has a length limit
        try:
            fingerprint = _key()
            for name, suites in contents().items():
                for suite, packages in suites.items():
                    _index(folder / name, name.split("/")[0], suite, packages)
            for name, packages in rpms().items():
                _index_rpm(folder / name, packages, fingerprint)
            public = run(["gpg", "--armor", "--export", fingerprint])
            for path in KEY_PATHS:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(public, encoding="utf-8")
            (folder / "fingerprint").write_text(f"{fingerprint}\n", encoding="utf-8")
        finally:
            run(["gpgconf", "--kill", "all"], check=False)
            del os.environ["GNUPGHOME"]
        stamp.write_text(key, encoding="utf-8")


def _key() -> str:
    """Load the signing key, made on first use, and return its fingerprint."""
    if SECRET.exists():
        run(["gpg", "--batch", "--import", SECRET])
    else:
        run(["gpg", "--batch", "--passphrase", "", "--quick-generate-key", OWNER, "rsa3072", "sign", "never"])
        SECRET.parent.mkdir(parents=True, exist_ok=True)
        SECRET.touch(mode=0o600)
        SECRET.write_text(run(["gpg", "--batch", "--armor", "--export-secret-keys", OWNER]), encoding="utf-8")
    listing = run(["gpg", "--batch", "--with-colons", "--list-keys", OWNER])
    return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))


def _index(root: Path, origin: str, suite: str, packages: list[Package]) -> None:
    """Lay down pool and signed indexes of one suite."""
    pool, dist = f"pool/{suite}", root / "dists" / suite
    for package in packages:
        package.write(root / pool)
    binary = dist / "main" / "binary-amd64"
    binary.mkdir(parents=True)
    (binary / "Packages").write_text(run(["apt-ftparchive", "packages", pool], cwd=root), encoding="utf-8")
    names = {
        "amdgpu": "repo.radeon.com",
        "rocm": "stable.repo.amd.com",
        "debian": "amdgpu-fleet",
        "site": "a site",
    }
    fields = {
        "Origin": names[origin],
        "Suite": suite,
        "Codename": suite,
        "Architectures": "amd64",
        "Components": "main",
    }
    if suite.endswith("-backports"):
        fields |= {"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes"}
    options = [
        word for key, value in fields.items() for word in ("-o", f"APT::FTPArchive::Release::{key}={value}")
    ]
    release = run(["apt-ftparchive", *options, "release", dist])
    (dist / "Release").write_text(release, encoding="utf-8")
    run(["gpg", "--batch", "--yes", "--clearsign", "--output", dist / "InRelease", dist / "Release"])
    run(
        [
            "gpg",
            "--batch",
            "--yes",
            "--armor",
            "--detach-sign",
            "--output",
            dist / "Release.gpg",
            dist / "Release",
        ]
    )


def _index_rpm(root: Path, packages: list[Package], fingerprint: str) -> None:
    """Signed packages and their index. The index itself is not signed, as AMD's are not known to be."""
    root.mkdir(parents=True, exist_ok=True)
    for package in packages:
        package.write_rpm(root)
    files = [path for path in sorted(root.glob("*.rpm")) if not path.name.startswith(UNSIGNED)]
    if files:
        gpg = shutil.which("gpg") or "gpg"  # Debian's rpm knows no path of it
        run(
            [
                "rpmsign",
                "--define",
                f"_gpg_name {fingerprint}",
                "--define",
                f"__gpg {gpg}",
                "--addsign",
                *files,
            ]
        )
    run(["createrepo_c", "--quiet", "--general-compress-type=gz", root])
