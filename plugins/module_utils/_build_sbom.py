# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in an image, as its own package managers and Pythons say, in the form of CycloneDX."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import quote

# Run inside the image by its own shell. An image has one of the package managers, and often no other.
SCRIPT = r"""
sed -n 's/^ID=/os\t/p' /etc/os-release
if command -v dpkg-query >/dev/null; then
  dpkg-query --show --showformat='deb\t${Package}\t${Version}\t${Architecture}\n'
fi
if command -v rpm >/dev/null && [ -d /var/lib/rpm -o -d /usr/lib/sysimage/rpm ]; then
  rpm --query --all --queryformat 'rpm\t%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n'
fi
for python in python3 /usr/bin/python3 /opt/vllm/bin/python3; do
  if command -v "$python" >/dev/null; then "$python" -c '
import importlib.metadata
for each in importlib.metadata.distributions():
    print("pypi", each.metadata["Name"], each.version, "", sep="\t")
'; fi
done
"""
FIELD = re.compile(r"[^\s\x00-\x1f]{1,300}")


def parse(text: str) -> tuple[str, list[tuple[str, str, str, str]]]:
    """The distribution's id, and (kind, name, version, architecture) of each package once. What does not look
    like a package is left out: an image is not trusted."""
    system, found = "", set()
    for line in text.splitlines():
        fields = line.split("\t")
        if fields[0] == "os" and len(fields) == 2:
            system = fields[1].strip("\"'")
        elif len(fields) == 4 and fields[0] in ("deb", "rpm", "pypi"):
            kind, name, version, architecture = fields
            if (
                FIELD.fullmatch(name)
                and FIELD.fullmatch(version)
                and (not architecture or FIELD.fullmatch(architecture))
            ):
                found.add(
                    (
                        kind,
                        re.sub(r"[-_.]+", "-", name).lower() if kind == "pypi" else name,
                        version,
                        architecture,
                    )
                )
    return (system if FIELD.fullmatch(system) else ""), sorted(found)


def purl(system: str, package: tuple[str, str, str, str]) -> str:
    kind, name, version, architecture = package
    space = f"{quote(system, safe='')}/" if kind != "pypi" and system else ""
    rest = f"?arch={quote(architecture, safe='')}" if architecture else ""
    return f"pkg:{kind}/{space}{quote(name, safe='')}@{quote(version, safe='')}{rest}"


def document(image: t.Mapping[str, t.Any], text: str) -> dict[str, t.Any]:
    """CycloneDX 1.5. The same image gives the same document: no time is in it, and no number by chance."""
    system, packages = parse(text)
    components = [
        {
            "type": "library",
            "bom-ref": purl(system, package),
            "name": package[1],
            "version": package[2],
            "purl": purl(system, package),
        }
        for package in packages
    ]
    properties = [{"name": name, "value": value} for name, value in sorted(image["labels"].items())]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": f"image:sha256:{image['id']}",
                "name": image["name"],
                "version": f"sha256:{image['id']}",
                "properties": properties,
            }
        },
        "components": components,
    }
