# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends vLLM at its start whatever the GPU: a finding before anything is deployed."""

from __future__ import annotations

import difflib
import typing as t

from ... import model as models
from ...memory import GIB, gib
from . import checkpoint, classes, fit, history, overridden, widths
from .refusals import Launched

BLOCKS, OFFLOAD = "num-gpu-blocks-override", "kv-offloading-size"
WORKERS = "distributed-executor-backend"
SHARED, WIDTH = "decode-context-parallel-size", "tensor-parallel-size"
LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
PARSERS = {
    "tool": ("tool-call-parser", "tool-parser-plugin"),
    "reasoning": ("reasoning-parser", "reasoning-parser-plugin"),
}
# vLLM refuses to compute them in float16 (its config/model.py).
NOT_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")
# Other names of one method, as vLLM rewrites them.
SAME = {
    "awq_marlin": "awq", "auto_awq": "awq", "gptq_marlin": "gptq", "auto_gptq": "gptq",
    "compressed_tensors": "compressed-tensors",
    "gpt_oss_mxfp4": "mxfp4", "deepseek_v4_fp8": "fp8", "modelopt_fp4": "modelopt",
    "modelopt_mxfp8": "modelopt", "modelopt_mixed": "modelopt",
}  # fmt: skip
METHODS = (
    "awq",
    "gptq",
    "compressed-tensors",
    "mxfp4",
    "fp8",
    "quark",
    "torchao",
    "bitsandbytes",
    "gguf",
    "fbgemm_fp8",
    "modelopt",
)


def check(launched: Launched) -> None:
    """Hold one instance to what vLLM itself checks first."""
    _check_class(launched)
    _check_named(launched)
    _check_context(launched)
    _check_parsers(launched)
    _check_types(launched)
    _check_batch(launched)
    _check_experts(launched)
    _check_adapters(launched)
    _check_tokens_shared(launched)
    _check_room(launched)
    _check_workers(launched)


def _check_class(launched: Launched) -> None:
    """A class that the release does not have yet, or no more, or not for AMD's GPUs."""
    instance, options = launched.instance, launched.options
    name, release = classes.of_instance(instance, options), instance.build.version
    wants, catalog = instance.host.wants, instance.host.catalog
    own = wants.vllm_image or wants.vllm_image_archive or wants.vllm_packages or wants.vllm_pip_arguments
    if not name or options.get("model-impl") == "transformers" or release not in catalog.vllm["versions"]:
        return
    found, left = classes.find(catalog, name), catalog.vllm["gone_architectures"].get(name)
    whose = f"the class {name} of {instance.name}"
    if found and instance.build.rocm and "foreign" in found.signs:
        launched.refuse("model", whose, f"vLLM {release} has it for NVIDIA's GPUs alone")
        return
    if found and history.within((found.first, found.last), release):
        if found.kind == "draft":
            why = "it proposes tokens for another model: name it in speculative-config of that one"
            launched.refuse("model", whose, why)
        return
    severity, expected = ("warn" if own else "fail"), f"a class that vLLM {release} has"
    if found and found.first and not history.within((found.first, None), release):
        remedy = f"Set vllm_version to {found.first} or newer: it came with that release"
    elif left or found:
        remedy = f"Take another model: vLLM {left or (found.last if found else '')} was the last to have it"
    else:
        severity, expected = "warn", "a class that a release of vLLM has"
        remedy = (
            "Look whether Transformers has the model, through which vLLM may serve it, or take an image "
            "of its makers (vllm_image)"
        )
    instance.host.findings.add("vllm.architecture", whose, expected, severity=severity, remedy=remedy)


def _check_named(launched: Launched) -> None:
    """A config.json without a class: vLLM takes the bare model of its type, which answers no completions, or
    ends."""
    instance = launched.instance
    facts = models.on_host(instance.host, instance.path)
    bare = facts.get("model_type") and not facts.get("architecture") and not instance.server.model_config
    if bare and not classes.of_instance(instance, launched.options):
        instance.host.findings.add(
            "vllm.architecture",
            f"no architectures in config.json of {instance.server.model}",
            "the name of a class",
            severity="warn",
            remedy=f"Set hf-overrides in options of the instance {instance.name} to "
            "{architectures: [NAME]}, with the class that the makers of the model name",
        )


def _check_tokens_shared(launched: Launched) -> None:
    shape, options = checkpoint.shape(launched.instance), launched.options
    ways, width = options.get(SHARED), options.get(WIDTH, 1)
    if not shape or not isinstance(ways, int) or ways <= 1 or not isinstance(width, int) or width < 1:
        return
    # Beside prefill-context-parallel-size other sizes count.
    fault = (
        None
        if options.get("prefill-context-parallel-size", 1) != 1
        else widths.context_fault(shape, width, ways)
    )
    if fault:
        launched.refuse(SHARED, f"{SHARED} {ways}", fault)


def _check_room(launched: Launched) -> None:
    """A cache of so many blocks that the longest text has no room in, and one in memory that is not there."""
    instance, options = launched.instance, launched.options
    shape = overridden.shape(instance, options, checkpoint.shape(instance)) or {}
    blocks, own = (
        options.get(BLOCKS),
        options.get("block-size", instance.host.catalog.vllm["memory"]["block_size"]["rocm"]),
    )
    plain = (
        set(shape.get("attention", {})) == {"full"}
        and not shape.get("kv_lora_rank")
        and not shape.get("state")
    )
    context = fit.tokens_of(options.get("max-model-len")) or shape.get("context")
    if (
        plain
        and instance.build.rocm
        and isinstance(blocks, int)
        and isinstance(own, int)
        and context
        and 0 < blocks * own < context
    ):
        why = f"blocks of {own} tokens hold {blocks * own} of them, and vLLM ends where no text has room"
        launched.refuse(BLOCKS, f"{BLOCKS} {blocks} for a context of {context}", why)
    size, memory = options.get(OFFLOAD), instance.host.system["memory_bytes"]
    if isinstance(size, (int, float)) and memory and size * GIB > memory:
        launched.refuse(
            OFFLOAD, f"{OFFLOAD} {size} on a host of {gib(memory)}", "the memory of the host holds it"
        )


def _check_workers(launched: Launched) -> None:
    """Who starts the workers of a model that is spread over devices."""
    options = launched.options
    backend, sizes = (
        options.get(WORKERS),
        [options.get(name, 1) for name in (WIDTH, "pipeline-parallel-size")],
    )
    spread = all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] > 1
    if backend == "uni" and spread:
        why = "one process is one worker, which waits for the others for ever; mp starts them"
        launched.refuse(WORKERS, f"{WORKERS} uni for {sizes[0]} x {sizes[1]} devices", why)
    elif backend == "external_launcher":
        why = "vLLM waits for a launcher (torchrun) to start its workers, and a unit has none; mp starts them"
        launched.refuse(WORKERS, f"{WORKERS} external_launcher", why)
    elif backend == "ray":
        why = "Ray is no part of vLLM's wheels and images for ROCm, and vLLM ends without it; mp needs none"
        launched.refuse(WORKERS, f"{WORKERS} ray", why, "warn")


def _check_context(launched: Launched) -> None:
    options, instance = launched.options, launched.instance
    asked = fit.tokens_of(options.get("max-model-len"))
    own = overridden.shape(instance, options, checkpoint.shape(instance))
    context = (own or {}).get("context")
    if own and context:
        context = max(context, own.get("reach", 0))
    allowed = launched.environment.get(LONGER) == "1" or overridden.stretches(options)
    stretched = (own or {}).get("stretched", 0)
    if asked and context and context < asked <= stretched and not allowed:
        why = (
            f"config.json stretches the positions to {stretched} with YaRN, and vLLM "
            f"{launched.instance.build.version} goes by its max_position_embeddings ({context}); "
            f"hf-overrides with max_position_embeddings {stretched}, or {LONGER}=1, lets it through"
        )
        launched.refuse("max-model-len", f"max-model-len {asked} for a context of {context}", why)
    elif asked and context and asked > context and not allowed:
        why = (
            f"the model bears {context} tokens, and vLLM refuses a longer max-model-len; hf-overrides with "
            f"max_position_embeddings and a scaling of its positions goes beyond, and {LONGER}=1 takes the "
            f"check away"
        )
        launched.refuse("max-model-len", f"max-model-len {asked} for a context of {context}", why)


def _check_parsers(launched: Launched) -> None:
    catalog, version = launched.instance.host.catalog, launched.instance.build.version
    for kind, (option, plugin) in PARSERS.items():
        name = launched.options.get(option)
        if not name or plugin in launched.options or not history.parsers(catalog, kind, version):
            continue
        if not history.parser_known(catalog, kind, str(name), version):
            known = history.parsers(catalog, kind, version)
            close = difflib.get_close_matches(str(name).replace("-", "_"), known, 1)
            hint = f"the nearest is {close[0]}" if close else f"it has {', '.join(known)}"
            launched.refuse(option, f"{option} {name}", f"vLLM {version} has no parser of this name; {hint}")
    if launched.options.get("enable-auto-tool-choice") and not launched.options.get("tool-call-parser"):
        why = "vLLM ends without a tool-call-parser, and none is known for this model"
        launched.refuse("tool-call-parser", "enable-auto-tool-choice without tool-call-parser", why)


def _check_types(launched: Launched) -> None:
    instance, options = launched.instance, launched.options
    kind = (checkpoint.shape(instance) or {}).get("type")
    if options.get("dtype") in ("float16", "half") and kind in NOT_FLOAT16:
        launched.refuse(
            "dtype", f"dtype {options['dtype']} for {kind}", "vLLM refuses float16 for these models"
        )
    asked, own = (_method(name) for name in (options.get("quantization"), checkpoint.quantization(instance)))
    if asked in METHODS and own in METHODS and asked != own:
        why = f"the weights are quantized with {own}, and vLLM loads them with no other method"
        launched.refuse("quantization", f"quantization {asked} for weights in {own}", why)


def _method(name: t.Any) -> str:
    return SAME.get(str(name), str(name))


def _check_batch(launched: Launched) -> None:
    tokens, sequences, context = (
        fit.tokens_of(launched.options.get(name))
        for name in ("max-num-batched-tokens", "max-num-seqs", "max-model-len")
    )
    if tokens and sequences and tokens < sequences:
        seen = f"max-num-batched-tokens {tokens} for max-num-seqs {sequences}"
        launched.refuse("max-num-batched-tokens", seen, "each sequence needs one token of a batch")
    elif tokens and context and tokens < context and launched.options.get("no-enable-chunked-prefill"):
        seen = f"max-num-batched-tokens {tokens} for max-model-len {context}"
        launched.refuse("max-num-batched-tokens", seen, "without chunked prefill a prompt is one batch")


def _check_experts(launched: Launched) -> None:
    """Of a part of a config.json that the inventory gives, nothing can be said."""
    shape = checkpoint.shape(launched.instance)
    if not launched.options.get("enable-expert-parallel") or launched.instance.server.model_config:
        return
    if shape and not shape.get("uncounted") and shape.get("intermediate") and not shape.get("experts"):
        launched.refuse("enable-expert-parallel", "enable-expert-parallel", "the model has no experts")


def _check_adapters(launched: Launched) -> None:
    kept, at_once = (launched.options.get(name) for name in ("max-cpu-loras", "max-loras"))
    if isinstance(kept, int) and isinstance(at_once, int) and kept < at_once:
        seen = f"max-cpu-loras {kept} for max-loras {at_once}"
        launched.refuse("max-cpu-loras", seen, "those of a batch are kept in memory first")
    if launched.options.get("lora-modules") and not launched.options.get("enable-lora"):
        why = "vLLM loads adapters only with enable-lora, and ends when it loads these"
        launched.refuse("enable-lora", "lora-modules without enable-lora", why)
