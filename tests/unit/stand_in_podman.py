# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Podman that keeps its store in a file and writes its words down."""

from __future__ import annotations

import json
import sys
from pathlib import Path

# It knows images by name, builds what a Containerfile says (a line FAIL or KILLED ends it), and writes its words down.
PODMAN = """#!{python} -IS
import json, sys
here = {here!r}
with open(here + "/store.json") as store:
    state = json.load(store)
words = sys.argv[1:]
with open(here + "/asked", "a") as asked:
    asked.write(json.dumps(words) + "\\n")
named = dict(word.lstrip("-").split("=", 1) for word in words if word.startswith("--") and "=" in word)
def save():
    with open(here + "/store.json", "w") as store:
        json.dump(state, store)
def digest_of(text):
    import hashlib  # takes as long as all the others
    return hashlib.sha256(text.encode()).hexdigest()
command = words[0]
if command == "image":
    image = state["images"].get(words[2])
    if image is None:
        sys.exit(125)
    print(json.dumps([image]))
elif command == "pull":
    if words[-1] not in state["remote"]:
        print("Error: manifest unknown\\nSee 'podman pull --help'.", file=sys.stderr)
        sys.exit(125)
    state["images"][words[-1]] = {{"Id": state["remote"][words[-1]], "Digest": "sha256:" + "d" * 64, "Labels": {{}}}}
    save()
elif command == "tag":
    state["images"][words[2]] = state["images"][words[1]]
    save()
elif command == "build":
    text = open(named["file"]).read()
    print("STEP 1/2: FROM base")
    if "FAIL" in text:
        print("ninja: build stopped: subcommand failed.")
        sys.exit(1)
    if "KILLED" in text:
        print("c++: fatal error: Killed signal terminated program cc1plus")
        sys.exit(1)
    labels = dict(word.split("=", 2)[1:] for word in words if word.startswith("--label="))
    identifier = digest_of(text + json.dumps(labels))
    state["images"][named["tag"]] = {{"Id": identifier, "Digest": "", "Labels": labels}}
    save()
elif command == "run":
    print("os\\tdebian")
    print("deb\\tlibc6\\t2.41-12\\tamd64")
    print("pypi\\tvllm\\t0.33.0+rocm100\\t")
elif command == "push":
    digest = "sha256:" + digest_of(words[-2])
    open(named["digestfile"], "w").write(digest)
    state["pushed"].append(words[-1].removeprefix("docker://").rsplit(":", 1)[0] + "@" + digest)
    save()
elif command == "manifest":
    # As Podman 4 says it of an image that is there.
    single = "Error: Treating single images as manifest lists is not implemented"
    print(single if words[-1] in state["pushed"] else "Error: manifest unknown", file=sys.stderr)
    sys.exit(125)
elif command == "save":
    open(named["output"], "w").write("an archive")
elif command == "rmi":
    del state["images"][words[1]]
    save()
else:
    sys.exit(99)
"""


def put(folder: Path, remote: dict[str, str]) -> None:
    """The program in ``folder/bin``, with an empty store and what a registry has: names and ids."""
    program = folder / "bin/podman"
    program.parent.mkdir()
    program.write_text(PODMAN.format(python=sys.executable, here=str(folder)), encoding="utf-8")
    program.chmod(0o755)
    store = {"images": {}, "remote": remote, "pushed": []}
    (folder / "store.json").write_text(json.dumps(store), encoding="utf-8")
