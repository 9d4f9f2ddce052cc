# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the API server of Kubernetes. It keeps what it is sent and a list of all requests.

    kubernetes_api.py FOLDER [ADDRESS]

It listens on a free port of that address, 127.0.0.1 where none is given. FOLDER/kubeconfig names both once it does.

`GET /_requests` has the requests that change something, `PUT /_objects` takes objects as they are, and
`PUT /_budgets` says how often an eviction of a pod is refused.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from testbed.kubernetes_store import ApiError, Key, Object, Store  # noqa: E402

# Group and version -> plural -> kind, and whether it has a namespace.
RESOURCES: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "namespaces": ("Namespace", False),
        "nodes": ("Node", False),
        "persistentvolumes": ("PersistentVolume", False),
        "persistentvolumeclaims": ("PersistentVolumeClaim", True),
        "configmaps": ("ConfigMap", True),
        "secrets": ("Secret", True),
        "serviceaccounts": ("ServiceAccount", True),
        "pods": ("Pod", True),
    },
    "apps/v1": {"daemonsets": ("DaemonSet", True), "deployments": ("Deployment", True)},
    "policy/v1": {"poddisruptionbudgets": ("PodDisruptionBudget", True)},
    "rbac.authorization.k8s.io/v1": {
        "clusterroles": ("ClusterRole", False),
        "clusterrolebindings": ("ClusterRoleBinding", False),
    },
    "serving.kserve.io/v1alpha1": {"servingruntimes": ("ServingRuntime", True)},
    "serving.kserve.io/v1beta1": {"inferenceservices": ("InferenceService", True)},
    "amd.com/v1alpha1": {"deviceconfigs": ("DeviceConfig", True)},
    "machineconfiguration.openshift.io/v1": {"machineconfigs": ("MachineConfig", False)},
}
VERBS = ["create", "delete", "get", "list", "patch", "update"]


class Api:
    """The rules of the server, without HTTP."""

    def __init__(self) -> None:
        self.store, self.lock = Store(), Lock()
        self.requests: list[Object] = []

    def answer(self, method: str, path: str, query: dict[str, str], content: str, body: str) -> Object:
        with self.lock:
            if path.startswith("/_"):
                return self._own(method, path, body)
            if method != "GET":
                self.requests.append(
                    {"method": method, "path": path, "query": query, "type": content, "body": body}
                )
            found = discovery(path)
            return found if found is not None else self._resource(method, path, query, content, body)

    def _own(self, method: str, path: str, body: str) -> Object:
        if path == "/_requests":
            return {"requests": self.requests}
        if method == "PUT" and path == "/_budgets":
            self.store.budgets = json.loads(body)
        elif method == "PUT":
            for each in json.loads(body):
                self.store.put(_key_of(each), each)
        return {}

    def _resource(self, method: str, path: str, query: dict[str, str], content: str, body: str) -> Object:
        version, plural, namespace, name, sub = _place(path)
        kind, namespaced = RESOURCES[version][plural]
        key: Key = (plural, namespace, name)
        dry = query.get("dryRun") == "All"
        data = json.loads(body) if body else {}
        if sub == "eviction":
            self.store.evict(key, dry)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if method == "GET" and not name:
            items = self.store.select(
                plural, namespace, _pairs(query.get("fieldSelector")), _pairs(query.get("labelSelector"))
            )
            return {
                "kind": f"{kind}List",
                "apiVersion": version,
                "metadata": {"resourceVersion": "1"},
                "items": items,
            }
        if method == "GET":
            return self.store.get(key)
        if (
            namespaced
            and method in ("POST", "PATCH")
            and ("namespaces", "", namespace) not in self.store.objects
        ):
            raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
        if method == "POST":
            return self.store.create((plural, namespace, data["metadata"]["name"]), data, dry)
        if method == "PUT":
            return self.store.put(key, data, dry)
        if method == "DELETE":
            return self.store.delete(key, dry)
        if "apply-patch" in content:
            force = query.get("force", "").lower() == "true"
            return self.store.apply(key, data, query["fieldManager"], force, dry)
        return self.store.merge(key, data, dry)


def discovery(path: str) -> Object | None:
    """What clients ask before they ask for objects."""
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups: dict[str, list[str]] = {}
    for version in RESOURCES:
        if "/" in version:
            groups.setdefault(version.split("/")[0], []).append(version)
    if path == "/apis":
        listed = [_group(name, versions) for name, versions in groups.items()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in groups:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(version, groups[version])}
    if version not in RESOURCES:
        return None
    resources = [
        {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": VERBS}
        for plural, (kind, namespaced) in RESOURCES[version].items()
    ]
    if version == "v1":
        resources.append(
            {
                "name": "pods/eviction",
                "singularName": "",
                "kind": "Eviction",
                "group": "policy",
                "version": "v1",
                "namespaced": True,
                "verbs": ["create"],
            }
        )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": version, "version": version.split("/")[1]} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _place(path: str) -> tuple[str, str, str, str, str]:
    """Version, plural, namespace, name and what lies below it."""
    parts = path.strip("/").split("/")
    version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if version not in RESOURCES or not rest or rest[0] not in RESOURCES[version]:
        raise ApiError(404, "NotFound", f"the server could not find the requested resource {path}")
    rest += ["", ""]
    return version, rest[0], namespace, rest[1], rest[2]


def _key_of(made: Object) -> Key:
    for plural, (kind, namespaced) in RESOURCES[made["apiVersion"]].items():
        if kind == made["kind"]:
            return (
                plural,
                made["metadata"].get("namespace", "") if namespaced else "",
                made["metadata"]["name"],
            )
    raise ApiError(400, "BadRequest", f"no resource for {made['kind']}")


def _pairs(selector: str | None) -> dict[str, str]:
    return dict(part.split("=", 1) for part in (selector or "").split(",") if part)


def serve(address: str, port: int) -> ThreadingHTTPServer:
    """The server, not yet running; port 0 takes a free one."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            where = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            query = dict(urllib.parse.parse_qsl(where.query))
            content = self.headers.get("Content-Type", "")
            status = 201 if self.command == "POST" else 200
            try:
                answer = api.answer(self.command, where.path, query, content, body)
            except ApiError as error:
                status, answer = error.status, error.body
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names of the library

        def log_message(self, *_words: Any) -> None:
            """Nothing: the requests are kept."""

    return ThreadingHTTPServer((address, port), Handler)


def kubeconfig(address: str, port: int) -> str:
    """How clients reach it; they have to name the context."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": {"server": f"http://{address}:{port}"}}],
            "users": [{"name": "bed", "user": {}}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "bed"}}],
            "current-context": "",
        }
    )


def main(folder: Path, address: str = "127.0.0.1") -> None:
    server = serve(address, 0)
    half = folder / "kubeconfig.half"
    half.write_text(kubeconfig(address, server.server_address[1]), encoding="utf-8")
    half.rename(folder / "kubeconfig")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
