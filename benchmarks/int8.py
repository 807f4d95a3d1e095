"""What 8-bit integers are worth: speed and distance from fp32, for several ways to quantise.

    python benchmarks/int8.py PHOTOGRAPHS… [--models upscale-x2,upscale-x4,denoise-photo]

Every model is quantised as `genloom quantize` does, and in variants: its first and last
convolutions too; additions too; the results of convolutions left in floats; ranges from a
percentile, and by entropy. All forms run on ONNX Runtime's CPU provider and on OpenVINO with one
thread, in turns on one tile, beside fp32 and OpenVINO's bf16; times are processor times, so that
other programs count little. dB are between a form and fp32, on photographs that were not
calibrated on.

Needs: pip install 'genloom[cpu,openvino,community]'
"""

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

import onnx
from onnxruntime import quantization as tool

from genloom.catalog import Catalog
from genloom.engine.calibration import SIDE, examples, photographs
from genloom.engine.compiling import runtime_named
from genloom.engine.quantize import HELD
from genloom.engine.watching import apart
from genloom.models import find
from genloom.runtime import EXACT, Settings
from genloom.runtime.quantizing import LAYERS, quantized

PROVIDERS = ("cpu", "openvino")
FEW = 8
"""Examples for ranges that are told from all values at once: more do not fit into memory."""
ROUNDS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--models", default="upscale-x2,upscale-x4,denoise-photo")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    catalog = Catalog.load()
    for name in options.models.split(","):
        bundle = find(name, catalog)
        measure(bundle, options.photographs, runtime_named(catalog, "auto"))


def measure(bundle, paths, runtime):
    """Print a line for each form of the model's first part on each provider."""
    name, part = next(iter(bundle.card.parts.items()))
    graph = bundle.graph(name)
    pictures = photographs(paths, *bundle.card.size.padded(SIDE, SIDE))
    held, used = pictures[::HELD], [one for n, one in enumerate(pictures) if n % HELD]
    given, others = (list(examples(some, bundle.card, part)) for some in (used, held))
    forms = {"fp32": graph, "bf16": graph, "int8": quantized(graph, given)}
    forms |= {f"int8, {words}": data for words, data in variants(graph, given)}
    networks = {
        (form, provider): runtime.compile(
            data,
            Settings(provider=provider, threads=1, precision=form.partition(",")[0]),
        )
        for form, data in forms.items()
        for provider in PROVIDERS
        if provider in runtime.providers() and (form, provider) != ("bf16", "cpu")
    }
    exact = [networks[EXACT, "cpu"].run(one) for one in others]
    times = {key: [] for key in networks}
    for _ in range(1 + ROUNDS):
        for key, network in networks.items():
            began = time.process_time()
            network.run(others[0])
            times[key].append(time.process_time() - began)
    seconds = {key: statistics.median(taken[1:]) for key, taken in times.items()}
    for key, network in networks.items():
        found = [apart(network.run(one), right) for one, right in zip(others, exact, strict=True)]
        print(
            f"{bundle.card.name}  {', '.join(key):48}{1000 * seconds[key]:7.0f} ms "
            f"{seconds[EXACT, 'cpu'] / seconds[key]:5.2f} times  "
            f"{min(found):6.1f} dB at the least, {statistics.mean(found):.1f} in the mean",
            flush=True,
        )


def variants(graph, given):
    """Other ways to quantise a graph, in words, each with the bytes that come of it."""
    method = tool.CalibrationMethod
    convolutions = [*LAYERS, "Relu"]
    yield "ends too", made(graph, given, convolutions, ends=True)
    yield "additions too", made(graph, given, [*convolutions, "Add"])
    floats = {"OpTypesToExcludeOutputQuantization": list(LAYERS)}
    yield "results in floats", made(graph, given, convolutions, extra=floats)
    cut = {"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False}
    few = given[:FEW]
    yield "percentile", made(graph, few, convolutions, method=method.Percentile, extra=cut)
    yield "entropy", made(graph, few, convolutions, method=method.Entropy)


def made(graph, given, operators, ends=False, method=tool.CalibrationMethod.MinMax, extra=None):
    """The bytes of a QDQ graph."""
    left = iter(given)

    class Reader(tool.CalibrationDataReader):
        def get_next(self):
            return next(left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, done = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        (Path(folder) / "given.onnx").write_bytes(graph)
        tool.quant_pre_process(
            str(Path(folder) / "given.onnx"), str(plain), skip_symbolic_shape=True
        )
        layers = [node.name for node in onnx.load(plain).graph.node if node.op_type in LAYERS]
        tool.quantize_static(
            str(plain),
            str(done),
            Reader(),
            op_types_to_quantize=operators,
            nodes_to_exclude=[] if ends else [layers[0], layers[-1]],
            per_channel=True,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
            calibrate_method=method,
            extra_options=extra or {},
        )
        return done.read_bytes()


if __name__ == "__main__":
    main()
