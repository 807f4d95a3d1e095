"""The card of a model."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genloom.card import CARD, Card, Origin, Part, Port, SizeRule
from genloom.engine.tiling import tiles
from genloom.errors import InvalidFile, ModelError

PICTURE = Port(axes=("batch", 3, "height", "width"), range=(0.0, 1.0))
PART = Part(
    file="network.onnx",
    sha256="0123456789abcdef" * 4,
    opset=18,
    inputs={"image": PICTURE, "noise_level": Port(axes=("batch",), default=0.1)},
    outputs={"result": PICTURE},
)
FULL = Card(
    name="denoise-photo",
    family="denoiser",
    summary="Größe: 1e3, yes",
    licence="09",
    channels=3,
    size=SizeRule(multiple=8, minimum=16),
    scale=2,
    receptive_field=61,
    latent=(4, 8, 8),
    labels=("no", "1", "true"),
    parameters=1_000_000,
    parts={"network": PART},
    metrics={"psnr_kodak": 31.5},
    origin=Origin(recipe="r.yaml", steps=3, seconds=0.5, versions={"torch": "2e9"}),
)

MINIMAL = """\
genloom: 1
name: tiny
family: vae
channels: 1
parts:
  encoder:
    file: encoder.onnx
    sha256: {digest}
    opset: 18
    inputs: {{image: {{axes: [batch, 1, 8, 8]}}}}
    outputs: {{latent: {{axes: [batch, 4]}}}}
""".format(digest="ab" * 32)


def read(folder, text):
    (folder / CARD).write_text(text, encoding="utf-8")
    return Card.read(folder)


def problems_of(folder, text):
    with pytest.raises(InvalidFile) as caught:
        read(folder, text)
    return [str(problem).removeprefix(f"{folder / CARD}:") for problem in caught.value.problems]


def test_a_card_is_read_as_it_was_written(tmp_path):
    FULL.write(tmp_path)
    assert Card.read(tmp_path) == FULL


@given(st.data())
def test_any_card_is_read_as_it_was_written(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("card")
    card = FULL.model_copy(
        update={
            field: data.draw(strategy)
            for field, strategy in {
                "summary": TEXTS,
                "licence": TEXTS,
                "labels": st.lists(TEXTS, max_size=3).map(tuple),
                "metrics": st.dictionaries(TEXTS, st.floats(allow_nan=False), max_size=3),
                "latent": st.none()
                | st.lists(st.integers(1, 99), min_size=1, max_size=3).map(tuple),
                "receptive_field": st.just("global") | st.integers(1, 9999),
                "scale": st.integers(1, 8),
                "parameters": st.integers(0, 10**12),
            }.items()
        }
    )
    card.write(folder)
    assert Card.read(folder) == card


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_what_equals_its_default_is_not_written():
    text = FULL.model_copy(update={"scale": 1, "labels": ()}).to_yaml()
    assert text.startswith("genloom: 1\nname: denoise-photo\n")
    assert "scale" not in text
    assert "labels" not in text


def test_a_short_card_has_the_defaults(tmp_path):
    card = read(tmp_path, MINIMAL)
    assert (card.scale, card.receptive_field, card.colour, card.latent) == (
        1,
        "global",
        "sRGB",
        None,
    )
    assert card.size == SizeRule(multiple=1, minimum=1, fixed=None)
    assert card.parts["encoder"].inputs["image"].dtype == "float32"


def test_a_folder_without_a_card_is_no_bundle(tmp_path):
    with pytest.raises(ModelError, match=r"is not a model bundle; expected .* model\.yaml"):
        Card.read(tmp_path)
    with pytest.raises(ModelError):
        Card.read(tmp_path / "gone")


def test_a_card_that_asks_for_fp32_has_no_int8_form(tmp_path):
    form = f"    int8: {{file: int8.onnx, sha256: {'cd' * 32}, opset: 18}}\n"
    assert read(tmp_path, MINIMAL + "precision: fp32\n").precision == "fp32"
    assert read(tmp_path, MINIMAL + form).precision == "auto"
    (problem,) = problems_of(tmp_path, MINIMAL + form + "precision: fp32\n")
    assert "no int8 form of a part where 'precision' is fp32" in problem


@pytest.mark.parametrize(
    "name", ["../x.onnx", "/x.onnx", "a/x.onnx", "..\\x.onnx", "C:x.onnx", ".onnx", "x.pkl",
             "x.onnx\n", "", "..onnx"]
)  # fmt: skip
def test_a_graph_cannot_lie_outside_its_bundle(tmp_path, name):
    text = MINIMAL.replace("file: encoder.onnx", f"file: {json.dumps(name)}")
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("7:11: 'parts.encoder.file' is not right")


DAMAGE = [
    ("genloom: 1", "genloom: 2", "1:10: 'genloom' is not right; expected 1, got 2"),
    ("name: tiny", "name: a/b", "2:7: 'name' is not right; expected a text that matches"),
    ("name: tiny", "name: ..", "2:7: 'name' is not right"),
    ("name: tiny", "", "'name' is missing"),
    ("name: tiny", f"name: {'x' * 101}", "expected at most 100 characters"),
    ("family: vae", "family: 5", "3:9: 'family' is not right; expected a text, got 5"),
    ("family: vae", "famly: vae", "unknown key 'famly'. Did you mean 'family'?"),
    ("channels: 1", "channels: 4", "4:11: 'channels' is not right; expected 1 or 3, got 4"),
    ("channels: 1", "channels: [1", "not valid YAML"),
    (
        "channels: 1",
        "channels: 1\nprecision: bf16",
        "5:12: 'precision' is not right; expected 'auto' or 'fp32', got 'bf16'",
    ),
    ("channels: 1", "channels: 1\nchannels: 3", "5:1: 'channels' is given twice"),
    ("channels: 1", "channels: 1\ncolour: AdobeRGB", "5:9: 'colour' is not right; expected 'sRGB'"),
    ("channels: 1", "channels: 1\nscale: 0", "5:8: 'scale' is not right; expected a number of at"),
    ("channels: 1", "channels: 1\nlatent: [0]", "5:10: 'latent.0' is not right"),
    ("channels: 1", "channels: 1\nlatent: 16", "5:9: 'latent' is not right; expected a list"),
    ("channels: 1", "channels: 1\nreceptive_field: all", "5:18: 'receptive_field' is not right"),
    ("channels: 1", "channels: 1\nreceptive_field: 0", "5:18: 'receptive_field' is not right"),
    ("channels: 1", "channels: 1\nsize: {fixed: [8]}", "5:15: 'size.fixed.1' is missing"),
    ("channels: 1", "channels: 1\nsize: {fixed: [0, 8]}", "5:16: 'size.fixed.0' is not right"),
    ("channels: 1", "channels: 1\nsize: {multiple: 0}", "5:18: 'size.multiple' is not right"),
    ("channels: 1", "channels: 1\norigin: {stps: 1}", "unknown key 'stps'. Did you mean 'steps'?"),
    ("channels: 1", "channels: 1\nmetrics: {psnr: good}", "5:17: 'metrics.psnr' is not right"),
    (
        "channels: 1",
        "channels: 1\nrange: [-1, 1]",
        "5:8: 'range' is not right; expected [0, 1]: other scales belong into the graph, got [-1",
    ),
    (
        "[batch, 1, 8, 8]",
        "[batch, 1, 8, 8], dtype: uint8",
        "'parts.encoder.inputs' is not right; expected 'image' of floats in [0, 1]",
    ),
    ("[batch, 1, 8, 8]", "[batch, 1, 8, 8], range: [0, 255]", "expected 'image' of floats in"),
    ("channels: 1", "channels: 1\nhook: !!python/name:os.system", "5:7: tags such as"),
    (
        "opset: 18",
        "opset: new",
        "9:12: 'parts.encoder.opset' is not right; expected a whole number",
    ),
    ("opset: 18", "opst: 18", "9:5: unknown key 'opst'. Did you mean 'opset'?"),
    ("sha256: ab", "sha256: xy", "8:13: 'parts.encoder.sha256' is not right"),
    ("[batch, 4]", "[batch, 1.5]", "'parts.encoder.outputs.latent.axes.1' is not right"),
    ("[batch, 4]", "4", "'parts.encoder.outputs.latent.axes' is not right; expected a list"),
    ("{axes: [batch, 4]}", "{axs: []}", "unknown key 'axs'. Did you mean 'axes'?"),
]


@pytest.mark.parametrize(("sound", "damaged", "message"), DAMAGE)
def test_damage_is_told_at_its_place(tmp_path, sound, damaged, message):
    text = MINIMAL.replace(sound, damaged, 1)
    assert text != MINIMAL
    assert any(message in problem for problem in problems_of(tmp_path, text))


def test_a_card_without_parts_is_refused(tmp_path):
    head = MINIMAL.split("parts:")[0]
    assert "'parts' is missing" in problems_of(tmp_path, head)[0]
    (problem,) = problems_of(tmp_path, f"{head}parts: {{}}")
    assert problem == "5:8: 'parts' is not right; expected 1 or more entries, got {}"


def test_all_damage_of_a_card_is_told_at_once(tmp_path):
    text = MINIMAL.replace("name: tiny\n", "").replace("opset: 18", "opset: x") + "extra: 1\n"
    assert len(problems_of(tmp_path, text)) == 3


@given(st.binary())
def test_no_bytes_raise_anything_but_invalid_file(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / CARD).write_bytes(content)
    with pytest.raises(InvalidFile):
        Card.read(folder)


@given(
    st.sampled_from(MINIMAL.splitlines()), st.sampled_from(["", "-", "5", "[]", "x: y", "  x: 1"])
)
def test_a_card_with_any_line_replaced_is_sound_or_an_invalid_file(tmp_path_factory, line, other):
    folder = tmp_path_factory.mktemp("line")
    (folder / CARD).write_text(MINIMAL.replace(line, other))
    try:
        Card.read(folder)
    except InvalidFile as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        ({"multiple": 8}, (10, 16), (16, 16)),
        ({"multiple": 8, "minimum": 32}, (1, 33), (32, 40)),
        ({"multiple": 8, "minimum": 20}, (1, 1), (24, 24)),
        ({}, (5, 7), (5, 7)),
        ({"multiple": 4, "square": True}, (5, 9), (12, 12)),
        ({"fixed": (20, 30)}, (9, 31), (20, 31)),
        ({"fixed": (20, 30), "stride": 8}, (21, 30), (28, 30)),
    ],
)
def test_a_size_rule_says_what_a_picture_is_padded_to(rule, size, expected):
    assert SizeRule(**rule).padded(*size) == expected


def test_squares_with_a_stride_are_cut_into_squares():
    rule = SizeRule(square=True, stride=8, multiple=2)
    height, width = rule.padded(100, 50)
    assert height == width == 104
    cut = list(tiles((height, width), (64, 64), 4, rule.step))
    assert all((t.rows.length, t.columns.length) == (64, 64) for t in cut)
    assert all(t.rows.start % 8 == 0 and t.columns.start % 8 == 0 for t in cut)
