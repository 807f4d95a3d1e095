"""Telling out of memory from all other errors, by the words that libraries have for it."""

from __future__ import annotations

import re

WORDS = re.compile(
    r"""
      bad_alloc | bad\ allocation                         # the C++ library; Microsoft's
    | failed\ to\ allocate\ memory                       # ONNX Runtime's arena
    | available\ memory\ of\ \d+\ is\ smaller\ than       # the same, at `gpu_mem_limit`
    | failure\ 2:\ out\ of\ memory                       # CUDA and HIP, as ONNX Runtime tells it
    | cuda\ out\ of\ memory | 2\ \(out\ of\ memory\)       # and others, TensorRT among them
    | cudaErrorMemoryAllocation | hipErrorOutOfMemory
    | (CUBLAS|CUDNN|CUFFT|HIPBLAS|ROCBLAS|MIOPEN)_?STATUS_?ALLOC_?FAILED
    | 8007000E | E_OUTOFMEMORY                           # DirectML, by the number Windows gives
    | CL_MEM_OBJECT_ALLOCATION_FAILURE | CL_OUT_OF_(RESOURCES|HOST_MEMORY)
    | cl\w+,\ error\ code:\ -[456]\b                     # the same three, by OpenCL's numbers
    | failed\ to\ allocate\ \d+\ bytes | can't\ alloc\b    # OpenVINO, on the processor
    | exceeded\ max\ size\ of\ memory                    # and of a GPU
    | ZE_RESULT_ERROR_OUT_OF_(DEVICE|HOST)_MEMORY        # and of an NPU
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What is written in an error that says that memory ran out, and in no other."""


def ran_out(error: BaseException) -> str:
    """What an error says of memory that there was not enough of; empty when it says nothing."""
    text = str(error)
    if found := WORDS.search(text):
        return text[found.start() :].splitlines()[0][:200].strip()
    return (text or "out of memory") if isinstance(error, MemoryError) else ""
