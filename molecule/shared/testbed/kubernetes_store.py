# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a stand-in for the API of Kubernetes: as much of its rules as the collection's tests look at.

Field owners are kept by leaf: with server-side apply a manager that sets another value of a field that somebody
else owns gets a conflict. Lists are values: they are replaced.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str, str]


class ApiError(Exception):
    """An answer that is none of success."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    @property
    def body(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.status,
        }


@dataclass
class Store:
    """Objects by resource, namespace and name."""

    objects: dict[Key, Object] = field(default_factory=dict)
    owners: dict[Key, dict[tuple[str, ...], str]] = field(default_factory=dict)
    version: int = 1
    # How often an eviction of a pod is refused, as a budget does; negative is for ever.
    budgets: dict[str, int] = field(default_factory=dict)

    def get(self, key: Key) -> Object:
        if key not in self.objects:
            raise ApiError(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.objects[key]

    def select(
        self, resource: str, namespace: str, fields: dict[str, str], labels: dict[str, str]
    ) -> list[Object]:
        found = [
            each
            for (kind, space, _name), each in sorted(self.objects.items())
            if kind == resource and namespace in ("", space)
        ]
        return [
            each
            for each in found
            if all(str(_at(each, path.split("."))) == value for path, value in fields.items())
            and all(each["metadata"].get("labels", {}).get(name) == value for name, value in labels.items())
        ]

    def put(self, key: Key, made: Object, dry: bool = False) -> Object:
        """The object as it is stored. What is equal keeps its version."""
        made = copy.deepcopy(made)
        before = self.objects.get(key)
        metadata = made.setdefault("metadata", {})
        metadata.setdefault("name", key[2])
        metadata.pop("managedFields", None)
        if before is not None:
            metadata["uid"], metadata["resourceVersion"] = (
                before["metadata"][name] for name in ("uid", "resourceVersion")
            )
            if made == before:
                return made
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"uid-{self.version}")
        if not dry:
            self.objects[key] = made
        return made

    def create(self, key: Key, made: Object, dry: bool = False) -> Object:
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
        return self.put(key, made, dry)

    def merge(self, key: Key, patch: Object, dry: bool = False) -> Object:
        return self.put(key, merged(self.get(key), patch), dry)

    def apply(self, key: Key, wanted: Object, manager: str, force: bool, dry: bool) -> Object:
        """Server-side apply."""
        before = self.objects.get(key, {})
        owners = dict(self.owners.get(key, {}))
        leaves = dict(_leaves(wanted))
        conflicts = [
            path
            for path, value in leaves.items()
            if owners.get(path, manager) != manager and _at(before, path) != value
        ]
        if conflicts and not force:
            told = ", ".join(f'conflict with "{owners[path]}": .{".".join(path)}' for path in conflicts)
            raise ApiError(409, "Conflict", f"Apply failed with {len(conflicts)} conflict: {told}")
        gone = [path for path, owner in owners.items() if owner == manager and path not in leaves]
        result = copy.deepcopy(before)
        for path in gone:
            _drop(result, path)
            owners.pop(path)
        owners.update(dict.fromkeys(leaves, manager))
        if not dry:
            self.owners[key] = owners
        return self.put(key, merged(result, wanted), dry)

    def delete(self, key: Key, dry: bool = False) -> Object:
        found = self.get(key)
        if not dry:
            del self.objects[key]
            self.owners.pop(key, None)
        return found

    def evict(self, key: Key, dry: bool = False) -> None:
        left = self.budgets.get(key[2], 0)
        if left:
            self.budgets[key[2]] = left - 1 if left > 0 else left
            raise ApiError(
                429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."
            )
        self.delete(key, dry)


def merged(before: Any, patch: Any) -> Any:
    """A merge patch: null takes away."""
    if not isinstance(before, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(before)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        return [leaf for name, each in value.items() for leaf in _leaves(each, (*path, name))]
    return [(path, value)]


def _at(value: Any, path: Any) -> Any:
    for part in path:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _drop(value: Object, path: tuple[str, ...]) -> None:
    parent = _at(value, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
