"""What the tests of hostile input share: sound files to spoil, and bundles made of spoilt parts."""

import hashlib
import importlib.util
import shutil
from pathlib import Path

from genloom.card import CARD, Card

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/hostile.py"
NOWHERE = Path("nowhere")
SECONDS = 20
"""No single input may take longer, on a machine that does much else."""


def _script():
    spec = importlib.util.spec_from_file_location("hostile", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile = _script()
SOUND = dict(hostile.sound_files())


def bundle_with(folder, source, *, card=None, graph=None):
    """A copy of a bundle under another card, or with other bytes that its card agrees with."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    text = card if card is not None else (folder / CARD).read_text()
    if graph is not None:
        part = next(iter(Card.read(folder).parts.values()))
        (folder / part.file).write_bytes(graph)
        text = text.replace(part.sha256, hashlib.sha256(graph).hexdigest())
    (folder / CARD).write_text(text, encoding="utf-8", errors="replace")
    return folder
