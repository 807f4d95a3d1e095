"""The execution providers of ONNX Runtime: their names, what they can do, and how."""

from __future__ import annotations

from collections.abc import Mapping

BEST_FIRST = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

AUTOMATIC = ("cuda", "migraphx", "rocm", "coreml", "directml", "cpu")
"""What `auto` tries. TensorRT compiles for minutes and is taken only by name."""

PRESET = {
    "cuda": {
        # What it does by itself times every algorithm for every new size of a picture.
        "cudnn_conv_algo_search": "HEURISTIC",
        # And it doubles what it holds each time it needs more.
        "arena_extend_strategy": "kSameAsRequested",
        # Else what is asked for as fp32 is multiplied with ten bits of mantissa.
        "use_tf32": "0",
    }
}
"""Options of providers, unless others are asked for."""

IN_MEMORY = frozenset({"cpu", "xnnpack", "openvino"})
"""Providers that work in the machine's memory, on its cores: one tile keeps them busy."""

SEARCHING = frozenset({"tensorrt", "cuda", "migraphx", "rocm", "directml"})
"""Providers that compile or search for each new shape of what goes in."""

HALF = "fp16"

IN_HALF: Mapping[str, Mapping[str, str]] = {
    "tensorrt": {"trt_fp16_enable": "1"},
    "cuda": {},
    "coreml": {"ModelFormat": "MLProgram"},  # the other format takes float32 alone
    "directml": {},
}
"""Providers that are fast in fp16, and the options that they need for it."""

OF_ITSELF = frozenset({"tensorrt"})
"""Those that convert a graph themselves."""

INTEGERS = frozenset({"cpu"})
"""Providers that compute quantised layers in integers."""
