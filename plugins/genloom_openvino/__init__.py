"""OpenVINO, a runtime for processors and for the GPUs and NPUs of Intel."""

from __future__ import annotations

from genloom.hookspecs import hookimpl
from genloom.runtime import Runtime
from genloom_openvino.runtime import OpenVino

genloom_api = 1


@hookimpl
def genloom_runtimes() -> list[type[Runtime]]:
    """Bring the runtime."""
    return [OpenVino]
