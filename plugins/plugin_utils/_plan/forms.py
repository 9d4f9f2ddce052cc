# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the texts of an inventory may look like, before anything reads them.

They end in units of systemd, on command lines and in files of configuration. A text that means something else
there than it says is refused here, in one sentence that names the variable.
"""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.common.validation import check_type_dict

from .wants import WantsError

CORRECT = "Correct it in the inventory."
# Longer than anything that was ever meant. A text for a model, such as a template of chats, may be longer.
LONGEST, LONGEST_FREE = 4096, 1 << 16
# Data of the catalog and of config.json: their own schemas hold them.
FREE = ("plan_catalog", "serve_instances[].model_config")
# They are split into words, so a block of several lines is what it looks like.
LINES = ("vllm_pip_arguments", "model_pip_arguments")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_CONVERSION = (list, tuple, dict)

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/[^\s'\"\\<>`]+)?")
_WEB = re.compile(r"(https?://[^\s'\"\\<>`]+)?")
_FINGERPRINT = re.compile(r"((\s*[0-9A-Fa-f]){40}((\s*[0-9A-Fa-f]){24})?\s*)?")
_PATH = re.compile(r"(/[\w./+@,=-]*)?")
_PROGRAM = re.compile(r"(/[\w./+@,=-]+|[\w][\w.+-]*)?")
_VERSION = re.compile(r"([\w][\w.+-]*)?")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64})?")
_HOST = re.compile(r"([A-Za-z0-9.:*][A-Za-z0-9.:*-]*)?")

_AN_ADDRESS = "an address without blanks and quotes, such as https://mirror.example/path"
_A_WEB_ADDRESS = "an address that begins with http:// or https://"
_A_PATH = "a path of letters, digits and . _ / + @ , = -"
_AN_OPTION = "the long name of an option"
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

# By the path of the variable: what the text is held to, and what that is called.
FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "driver_repository_uri": (_ADDRESS, _AN_ADDRESS),
    "driver_repository_key_url": (_ADDRESS, _AN_ADDRESS),
    "driver_repository_fingerprint": (_FINGERPRINT, "40 hexadecimal digits, or 64 of a key of version 6"),
    "rocm_repository_uri": (_ADDRESS, _AN_ADDRESS),
    "rocm_repository_key_url": (_ADDRESS, _AN_ADDRESS),
    "rocm_repository_fingerprint": (_FINGERPRINT, "40 hexadecimal digits, or 64 of a key of version 6"),
    "partition_stop_services[]": (
        re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,255}"),
        "the name of a unit",
    ),
    "firmware_version": (re.compile(r"[A-Za-z0-9.+:~*-]*"), "a version of a package"),
    "devices_users[]": (re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}\$?"), "the name of a user"),
    "kernel_arguments_present[]": (
        re.compile(r"[ -~]{1,1024}"),
        "an argument in printable characters of ASCII",
    ),
    "kernel_arguments_absent[]": (
        re.compile(r"[ -~]{1,1024}"),
        "an argument in printable characters of ASCII",
    ),
    "plan_mirror.url": (_WEB, _A_WEB_ADDRESS),
    "plan_mirror.pip_index": (_WEB, _A_WEB_ADDRESS),
    "plan_mirror.hub": (_WEB, _A_WEB_ADDRESS),
    "plan_mirror.registry": (
        re.compile(r"([\w.-]+(:[0-9]+)?(/[\w./-]*)?)?"),
        "a registry, such as registry.example:5000",
    ),
    "model_hub": (_WEB, _A_WEB_ADDRESS),
    "model_hf_token_file": (_PATH, _A_PATH),
    "model_python": (_PROGRAM, "the name or the path of a program"),
    "model_sources[].manifest": (re.compile(r"([\w/][\w./+@,=-]*)?"), _A_PATH),
    "model_sources[].sha256": (re.compile(r"([0-9A-Fa-f]{64})?"), "64 hexadecimal digits"),
    "model_exclude[]": (re.compile(r"[^-\\][^\\]{0,254}"), "a pattern of names"),
    "serve_node_address": (_HOST, "an IP address"),
    "serve_podman_arguments": (re.compile(r"(?!.*\\$).*"), "one line that does not end in a backslash"),
    "serve_instances[].served_name": (
        re.compile(r"[^\\]{0,255}"),
        "one line of up to 255 characters without a backslash",
    ),
    "serve_instances[].host": (re.compile(r"(?!-).{0,255}"), "an address"),
    "vllm_version": (_VERSION, "a release, such as 0.33.0"),
    "vllm_variant": (_VERSION, "a build of a release"),
    "vllm_image_archive": (_PATH, _A_PATH),
    "vllm_image_digest": (_DIGEST, "sha256: and 64 hexadecimal digits"),
    "vllm_packages[]": (
        re.compile(r"[^-\s][^\\]*"),
        "a requirement of a package (options stand in vllm_pip_arguments)",
    ),
    "vllm_python": (_PROGRAM, "the name or the path of a program"),
    "vllm_uv": (_PATH, _A_PATH),
    "llama_cpp_version": (_VERSION, "a release, such as 0.7.0, or a build, such as b11669"),
    "llama_cpp_image_archive": (_PATH, _A_PATH),
    "llama_cpp_image_digest": (_DIGEST, "sha256: and 64 hexadecimal digits"),
    "llama_cpp_program": (_PATH, _A_PATH),
    "llama_cpp_repository_uri": (_ADDRESS, _AN_ADDRESS),
    "llama_cpp_repository_suite": (re.compile(r"([A-Za-z0-9][A-Za-z0-9./+~-]*)?"), "the name of a suite"),
    "llama_cpp_repository_key_url": (_ADDRESS, _AN_ADDRESS),
    "llama_cpp_repository_fingerprint": (_FINGERPRINT, "40 hexadecimal digits, or 64 of a key of version 6"),
}
# Names in mappings of the operator's own words.
NAMES: dict[str, tuple[re.Pattern[str], str]] = {
    "kernel_sysctl": (re.compile(r"-?[A-Za-z0-9_][A-Za-z0-9_./:*@+-]{0,255}"), "the name of a sysctl"),
    "vllm_options": (_OPTION, _AN_OPTION),
    "llama_cpp_options": (_OPTION, _AN_OPTION),
    "serve_instances[].options": (_OPTION, _AN_OPTION),
}

Option = t.Mapping[str, t.Any]


def check(options: t.Mapping[str, Option], asked: t.Mapping[str, t.Any]) -> None:
    """Refuse the first value whose type or form does not fit. Numbers and truths are for the validator."""
    for name, value in asked.items():
        _check(name, options[name], value)


def _check(path: str, option: Option, value: t.Any) -> None:
    if value is None:
        return
    kind = option.get("type", "str")
    if kind in ("str", "path"):
        _check_text(path, value)
    elif kind == "list":
        _check_list(path, option, value)
    elif kind == "dict":
        _check_dict(path, option, value)
    elif isinstance(value, str):
        _check_length(path, value, LONGEST)


def _check_text(path: str, value: t.Any) -> None:
    if isinstance(value, _CONVERSION):
        what = "a mapping" if isinstance(value, dict) else "a list"
        raise WantsError(f"{path} is {what}, and must be a text. {CORRECT}")
    text = str(value)
    _check_length(path, text, LONGEST)
    form, meaning = FORMS.get(path, (None, ""))
    if form and not form.fullmatch(text):
        raise WantsError(f"{path.removesuffix('[]')}: {text!r} is not {meaning}. {CORRECT}")
    if (_CONTROL_BUT_LINES if path in LINES else _CONTROL).search(text):
        raise WantsError(f"{path} holds a line break or another control character. Write it in one line.")


def _check_list(path: str, option: Option, value: t.Any) -> None:
    if isinstance(value, dict):
        raise WantsError(f"{path} is a mapping, and must be a list. {CORRECT}")
    if isinstance(value, str):
        _check_length(path, value, LONGEST_FREE)
        if option.get("elements") == "dict":
            return
        value = [part.strip() for part in value.split(",")] if value else []
    if not isinstance(value, (list, tuple)):
        value = [value]
    for entry in value:
        if entry is None:
            raise WantsError(f"{path} has an entry without a value. {CORRECT}")
        if option.get("elements") == "dict" and not isinstance(entry, (dict, str)):
            raise WantsError(f"{path}: {str(entry)[:80]!r} is not a mapping. {CORRECT}")
        each = {"type": option.get("elements", "str"), "options": option.get("options")}
        _check(f"{path}[]", each, entry)


def _check_dict(path: str, option: Option, value: t.Any) -> None:
    if isinstance(value, str):  # JSON, as a survey gives it
        _check_length(path, value, LONGEST_FREE)
        value = _mapping_in_text(path, value)
    if not isinstance(value, dict):
        raise WantsError(f"{path} is {str(value)[:80]!r}, and must be a mapping. {CORRECT}")
    inner = option.get("options") or {}
    form, meaning = NAMES.get(path, (None, ""))
    for name, entry in value.items():
        if name in inner:
            _check(f"{path}.{name}", inner[name], entry)
        elif path not in FREE:
            _check_length(path, name, LONGEST)
            if form and not form.fullmatch(name):
                raise WantsError(f"{path}: {name!r} is not {meaning}. {CORRECT}")
            _check_free(f"{path}.{name}", entry)


def _mapping_in_text(path: str, text: str) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", check_type_dict(text))
    except TypeError as error:
        raise WantsError(f"{path} is a text, and no mapping in JSON. {CORRECT}") from error


def _check_free(path: str, value: t.Any) -> None:
    """A value of the operator's own: whole texts, without what no program takes."""
    if isinstance(value, str):
        _check_length(path, value, LONGEST_FREE)
        if "\0" in value:
            raise WantsError(f"{path} holds a NUL, which no program takes. {CORRECT}")
    elif isinstance(value, dict):
        for name, entry in value.items():
            _check_free(f"{path}.{name}", entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _check_free(f"{path}[]", entry)


def _check_length(path: str, text: str, most: int) -> None:
    if len(text) > most:
        raise WantsError(f"{path} has {len(text)} characters, and at most {most} make sense there. {CORRECT}")
