"""Fuzzing: mutated pictures, pipelines, cards and bundles end in genloom's own errors.

What it found stands in `test_hostile_pictures.py` and `test_hostile.py`.
"""

import os
import time
from contextlib import suppress

import pytest
from harm import NOWHERE, ROOT, SECONDS, SOUND, bundle_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genloom import imaging, pipeline, yamlfile
from genloom.card import CARD, Card
from genloom.engine.compiling import runtime_named
from genloom.engine.verify import verify
from genloom.errors import GenloomError, ImageError, InvalidFile, ModelError
from genloom.models import Bundle
from genloom.runtime import proto

TEXTS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "pipelines").glob("*.yaml"))
}
CARDS = {
    path.parent.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "plugins").glob(f"*/**/{CARD}"))
}
NASTY = [
    "", "-", "- ", ":", "0", "-1", "1e999", ".nan", "-.inf", "9" * 30, "null", "[]", "{}", "[[]]",
    "''", "'\\0'", '"\\ud800"', "../x", "/dev/zero", "!!python/name:os.system", "&a", "*a", "<<",
    "\t", "\u2028", "\x00", "%", "? ", "|", ">", "{stem}", "load", "save", "1.5", "true", "~",
]  # fmt: skip
LONG = int(os.environ.get("GENLOOM_FUZZ", "0"))
"""Set it to the examples that each test shall try, drawn anew at each run."""
fuzz = settings(
    deadline=None,
    derandomize=not LONG,
    max_examples=LONG or 120,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def mutated_bytes(draw, sound):
    """One of several sound files with bytes changed, parts doubled, moved or cut off."""
    data = bytearray(sound[draw(st.sampled_from(sorted(sound)))])
    for _ in range(draw(st.integers(1, 6))):
        reach = draw(st.sampled_from([32, 128, len(data)]))
        at = draw(st.integers(0, max(0, min(reach, len(data)) - 1)))
        how = draw(st.integers(0, 4))
        if how == 0:
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 1:
            data[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            )
        elif how == 2:
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif how == 3:
            del data[at : at + draw(st.integers(1, 64))]
        else:
            del data[max(at, 1) :]
        data = data or bytearray(b"\0")
    return bytes(data)


@st.composite
def mutated_text(draw, sound):
    """One of several sound texts with words replaced and lines doubled, moved or deleted."""
    lines = sound[draw(st.sampled_from(sorted(sound)))].splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        how = draw(st.integers(0, 3))
        if how < 2:
            words[draw(st.integers(0, len(words) - 1))] = draw(
                st.sampled_from(NASTY) | st.text(max_size=6)
            )
            lines[at] = " ".join(words)
        elif how == 2:
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif len(lines) > 1:
            del lines[at]
    return "\n".join(lines)


@fuzz
@given(mutated_bytes(SOUND) | st.binary(max_size=300))
def test_mutated_files_of_every_kind_are_pictures_or_image_errors(data):
    started = time.monotonic()
    for reader in (imaging.read, imaging.probe):
        try:
            reader(NOWHERE, data)
        except ImageError as error:
            assert str(error)
    assert time.monotonic() - started < SECONDS


@fuzz
@given(data=st.one_of(mutated_text(TEXTS), st.text()))
def test_mutated_pipelines_are_pipelines_or_invalid_files(catalog, data):
    started = time.monotonic()
    try:
        pipeline.check(yamlfile.parse(data), catalog)
    except InvalidFile as error:
        assert str(error)
    assert time.monotonic() - started < SECONDS


@fuzz
@given(mutated_text(CARDS) | st.text())
def test_mutated_cards_are_cards_or_invalid_files(text):
    started = time.monotonic()
    try:
        card = yamlfile.validated(yamlfile.parse(text), Card)
    except InvalidFile as error:
        assert str(error)
    else:
        again = yamlfile.validated(yamlfile.parse(card.to_yaml()), Card)
        assert again.to_yaml() == card.to_yaml()
    assert time.monotonic() - started < SECONDS


@pytest.fixture
def runtime(catalog):
    return runtime_named(catalog, "auto")


@fuzz
@given(data=st.data())
def test_a_bundle_with_a_mutated_card_is_verified_or_refused(
    catalog, runtime, tiny_bundles, tmp_path_factory, data
):
    name = data.draw(st.sampled_from(["tiny-vae", "tiny-image"]))
    sound = (tiny_bundles / name / CARD).read_text()
    folder = tmp_path_factory.getbasetemp() / "mutated-card" / name
    bundle_with(folder, tiny_bundles / name, card=data.draw(mutated_text({name: sound})))
    check_bundle(folder, catalog, runtime)


@fuzz
@given(data=st.data())
def test_a_bundle_with_a_mutated_graph_is_verified_or_refused(
    catalog, runtime, tiny_bundles, tmp_path_factory, data
):
    name = data.draw(st.sampled_from(["tiny-vae", "tiny-image"]))
    part = next(iter(Card.read(tiny_bundles / name).parts.values()))
    sound = (tiny_bundles / name / part.file).read_bytes()
    folder = tmp_path_factory.getbasetemp() / "mutated-graph" / name
    graph = data.draw(mutated_bytes({name: sound}))
    started = time.monotonic()
    with suppress(ModelError):
        proto.facts(graph)
    assert time.monotonic() - started < SECONDS
    bundle_with(folder, tiny_bundles / name, graph=graph)
    check_bundle(folder, catalog, runtime)


def check_bundle(folder, catalog, runtime):
    """Nothing but genloom's own errors; how long a graph computes, its bytes do not tell."""
    try:
        problems = list(verify(Bundle.open(folder), catalog, runtime))
        assert all(isinstance(problem, str) for problem in problems)
    except GenloomError as error:
        assert str(error)
