"""Classes of conditional models, and the tensors of a bundle: from card to picture."""

import numpy as np
import pytest

from genloom import load_pipeline, open_model
from genloom.card import Card
from genloom.engine.verify import verify_all
from genloom.errors import InvalidFile, ModelError, UnknownName
from genloom.models import Bundle
from genloom.stage import Inputs
from genloom.stages.latent import Interpolate, Sample
from genloom.testing import FakeRun
from genloom.types import Batch, Item, join


@pytest.fixture
def conditional(tiny_bundles, catalog):
    return open_model(tiny_bundles / "tiny-cvae", catalog=catalog)


def written(folder, text):
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    return folder / "pipeline.yaml"


def sample(model, count, **options):
    stage = Sample(model="c", count=count, **options)
    nothing = Batch.nothing(list(stage.sources(Inputs())))
    return stage(nothing, FakeRun({"c": model.model}, stage="sample"))


def one_hot(batch):
    assert (batch.label.sum(axis=1) == 1).all()
    return batch.label.argmax(axis=1).tolist()


def test_a_class_is_drawn_by_name_or_number(conditional):
    assert one_hot(sample(conditional, 3, label="shirt")) == [1, 1, 1]
    assert one_hot(sample(conditional, 3, label=2)) == [2, 2, 2]


def test_each_draws_the_classes_in_turn(conditional):
    assert one_hot(sample(conditional, 7, label="each")) == [0, 1, 2, 0, 1, 2, 0]


def test_classes_nobody_named_are_drawn_evenly(conditional):
    drawn = one_hot(sample(conditional, 900))
    assert all(250 < drawn.count(index) < 350 for index in range(3))


def test_naming_a_class_changes_nothing_but_the_class(conditional):
    free, named = sample(conditional, 5), sample(conditional, 5, label="bag")
    np.testing.assert_array_equal(free.values, named.values)


def test_the_class_reaches_the_decoder(conditional):
    boots, bags = (conditional.sample(4, seed=1, label=name) for name in ("boot", "bag"))
    inside = (boots > 0) & (bags < 1)
    assert inside.any()
    np.testing.assert_allclose((bags - boots)[inside], 0.5, atol=1e-6)


def test_an_encoder_that_recognises_the_class_hands_it_to_the_decoder(conditional):
    picture = np.full((8, 8), 0.25, np.float32)
    np.testing.assert_allclose(conditional(picture), 0.75, atol=1e-6)


def test_draws_from_a_posterior_keep_its_class_unless_another_is_asked_for(conditional):
    latents = conditional.model.encode(
        Batch.images([Item(key="a", name="a")], np.zeros((1, 8, 8, 1), np.uint8))
    )
    run = FakeRun({"c": conditional.model}, stage="sample")
    assert one_hot(Sample(model="c", count=2)(latents, run)) == [2, 2]
    assert one_hot(Sample(model="c", count=2, label="boot")(latents, run)) == [0, 0]
    assert one_hot(Sample(model="c", count=4, label="each")(latents, run)) == [0, 1, 2, 0]


def test_decoding_without_a_class_says_so(conditional):
    with pytest.raises(ModelError, match="needs to know the class"):
        conditional.decode(np.zeros((1, 4), np.float32))
    assert conditional.decode(np.zeros((2, 4), np.float32), labels=[0, 2]).shape == (2, 8, 8, 1)


def test_walking_between_classes_mixes_them(conditional):
    ends = [sample(conditional, 1, label=index) for index in (0, 2)]
    walk = Interpolate(steps=2).gather(ends, Item(key="w", name="w"), FakeRun())
    assert walk.label.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]
    circle = Interpolate(steps=2, loop=True).gather(ends, Item(key="w", name="w"), FakeRun())
    assert circle.label.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1], [0.5, 0, 0.5]]


def test_latents_with_and_without_classes_are_not_joined(conditional):
    with_label = sample(conditional, 1)
    without = Batch.latents(with_label.items, with_label.values, model=with_label.model)
    with pytest.raises(ValueError, match="joined"):
        join([with_label, without])
    both = join([with_label, with_label])
    np.testing.assert_array_equal(both.label, np.repeat(with_label.label, 2, axis=0))
    assert both[1:].label.shape == (1, 3)


def test_labels_must_belong_to_the_items():
    with pytest.raises(ValueError, match="N×classes"):
        Batch.latents(
            [Item(key="a", name="a")],
            np.zeros((1, 4), np.float32),
            model="m",
            label=np.zeros((2, 3), np.float32),
        )


def test_asking_an_unconditional_model_for_a_class_is_refused_with_its_place(catalog, tmp_path):
    text = "genloom: 1\nstages:\n  - sample: {model: tiny-vae, label: bag}\n  - decode\n  - save\n"
    with pytest.raises(InvalidFile, match=r"3:\d+: .*'tiny-vae' knows no classes"):
        load_pipeline(written(tmp_path, text), catalog=catalog)
    with pytest.raises(InvalidFile, match="Did you mean 'shirt'"):
        load_pipeline(
            written(tmp_path, text.replace("tiny-vae, label: bag", "tiny-cvae, label: shrit")),
            catalog=catalog,
        )


def test_a_pipeline_draws_the_same_classes_whatever_the_batch(catalog, tmp_path):
    text = "genloom: 1\nseed: 3\nstages:\n  - sample: {model: tiny-cvae, count: 9}\n"
    file = written(tmp_path, text + "  - decode\n  - save\n")
    pipeline = load_pipeline(file, catalog=catalog)
    for batch in (1, 4):
        pipeline.run((), tmp_path / str(batch), batch=batch, workers=2)
    for path in (tmp_path / "1").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "4" / path.name).read_bytes()


def test_classes_go_by_name_before_number(conditional):
    card = conditional.card
    assert (card.label_index("bag"), card.label_index(1)) == (2, 1)
    numbered = card.model_copy(update={"labels": ("2", "1", "0")})
    assert numbered.label_index(2) == 0
    with pytest.raises(UnknownName):
        card.label_index(-1)


def test_tensors_are_read_and_are_part_of_the_digest(tiny_bundles, tmp_path):
    bundle = Bundle.open(tiny_bundles / "tiny-cvae")
    assert bundle.tensors()["class_means"].tolist() == [[0] * 4, [1] * 4, [2] * 4]
    assert Bundle.open(tiny_bundles / "tiny-vae").tensors() == {}
    plain = bundle.card.model_copy(update={"tensors": None})
    assert Bundle(bundle.folder, plain).digest != bundle.digest


@pytest.mark.parametrize("harm", ["changed", "missing", "other", "noise"])
def test_damaged_tensors_are_found_and_named(tiny_bundles, tmp_path, catalog, harm):
    import hashlib
    import shutil

    from safetensors.numpy import save

    folder = tmp_path / "tiny-cvae"
    shutil.copytree(tiny_bundles / "tiny-cvae", folder)
    file = folder / "tensors.safetensors"
    card = Card.read(folder)
    if harm == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    elif harm == "missing":
        file.unlink()
    else:
        data = save({"others": np.ones(3, np.float32)}) if harm == "other" else b"no tensors"
        file.write_bytes(data)
        tensors = card.tensors.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
        card.model_copy(update={"tensors": tensors}).write(folder)
    words = {"changed": "not the one", "missing": "cannot be read", "other": "other arrays",
             "noise": "not safetensors"}  # fmt: skip
    with pytest.raises(ModelError, match=words[harm]):
        Bundle.open(folder).tensors()
    (verdict,) = verify_all([str(folder)], catalog)
    assert any(words[harm] in problem for problem in verdict.problems)


def test_a_sound_bundle_with_tensors_is_verified(tiny_bundles, catalog):
    (verdict,) = verify_all([str(tiny_bundles / "tiny-cvae")], catalog)
    assert verdict.problems == ()
