"""How busy a GPU is while something runs, sampled through NVML; for `gpu.py`."""

import statistics
import threading
import time
from dataclasses import dataclass, field

EVERY = 0.05


@dataclass
class Samples:
    """Shares of time, 0 to 1, in which the GPU computed, each with the time it was asked for.

    `sm` is the share of processes, as NVML tells it for each; empty where it does not.
    """

    busy: list[tuple[float, float]] = field(default_factory=list)
    sm: list[tuple[float, float]] = field(default_factory=list)
    memory: int = 0

    def between(self, start: float, end: float) -> str:
        """The mean from one time to another, in words."""
        busy = [share for when, share in self.busy if start <= when <= end]
        sm = [share for when, share in self.sm if start <= when <= end]
        if not busy:
            return "not sampled"
        told = f"{100 * statistics.fmean(busy):.0f} % of {end - start:.1f} s"
        told += f" ({len(busy)} samples, median {100 * statistics.median(busy):.0f} %"
        if sm:
            told += f", of its multiprocessors {100 * statistics.fmean(sm):.0f} % in the mean"
        return f"{told}, {self.memory / 2**30:.1f} GiB)"


class Sampler:
    """Asks NVML in a thread from `with` to the end of the block; nothing where there is none."""

    def __init__(self) -> None:
        self.samples, self._stop = Samples(), threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Samples:
        try:
            import pynvml

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception as error:
            print(f"  NVML: {type(error).__name__}: {error}")
            return self.samples
        self._thread = threading.Thread(target=self._ask, args=(pynvml, gpu), daemon=True)
        self._thread.start()
        return self.samples

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(5)

    def _ask(self, nvml: object, gpu: object) -> None:
        seen, broken = int(time.time() * 1e6), False
        while not self._stop.wait(EVERY):
            now = time.time()
            self.samples.busy.append((now, nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100))
            used = nvml.nvmlDeviceGetMemoryInfo(gpu).used
            self.samples.memory = max(self.samples.memory, int(used))
            if broken:
                continue
            try:
                for one in nvml.nvmlDeviceGetProcessUtilization(gpu, seen):
                    seen = max(seen, one.timeStamp)
                    self.samples.sm.append((one.timeStamp / 1e6, one.smUtil / 100))
            except nvml.NVMLError as error:
                broken = type(error).__name__ not in ("NVMLError_NotFound",)
