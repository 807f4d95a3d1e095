"""The family `classifier`: its contract, what it learns, and the bundle that ships."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import genloom
from genloom.card import Card
from genloom.errors import GenloomError
from genloom.types import Batch, Item
from genloom_classifier import Classifier, ClassifierConfig
from genloom_classifier.training import ClassifierTraining, moved
from genloom_train.data import Samples
from genloom_train.testing import OPTIONS, Blobs, check_backend, train
from genloom_train.training import Tensors

torch.set_num_threads(1)

SHIPPED = Path(__file__).parents[2] / "plugins/genloom_classifier/models/fashion-classifier"
TINY = ClassifierConfig(widths=(6, 8), shift=1, mirror=False)


@pytest.mark.parametrize("shape", [(1, 11, 7), (3, 16, 16)])
def test_it_keeps_the_contract_of_a_family(shape, tmp_path):
    card = check_backend(Classifier, TINY, tmp_path, shape=shape)
    part = card.parts["classifier"]
    assert card.labels == Blobs.labels and card.size.fixed == shape[1:]
    assert part.outputs["features"].axes == ("batch", 8)
    assert part.outputs["logits"].axes == ("batch", 2)
    assert (card.latent, card.receptive_field) == (None, "global")


def test_it_learns_what_can_be_learned(tmp_path):
    training = ClassifierTraining(TINY, (1, 12, 12), Blobs.labels)
    trained = train(training, tmp_path, dataclasses.replace(OPTIONS, steps=60, learning_rate=1e-2))
    with torch.no_grad():
        found = training.validate(
            trained.best.eval(), Blobs((1, 12, 12)).held_out(), torch.device("cpu")
        )
    assert found["accuracy"] == 1
    assert found["cross_entropy"] < 0.4
    assert 0.5 < found["confidence"] <= 1


def test_validation_counts_what_is_right():
    class Sure(torch.nn.Module):
        def forward(self, image):
            return image, torch.tensor([[5.0, 0.0]]).expand(len(image), 2)

    training = ClassifierTraining(TINY, (1, 4, 4), ("a", "b"))
    samples = Samples(np.zeros((4, 1, 4, 4), np.float32), np.array([0, 0, 0, 1]))
    found = training.validate(Sure(), samples, torch.device("cpu"))
    right, wrong = np.log1p(np.exp(-5)), 5 + np.log1p(np.exp(-5))
    assert found["accuracy"] == 0.75
    assert found["cross_entropy"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    assert found["confidence"] == pytest.approx(1 / (1 + np.exp(-5)), rel=1e-6)


def test_pictures_that_are_not_moved_stay_as_they_are():
    image = torch.rand(5, 3, 6, 4)
    assert torch.equal(moved(image, 0, False), image)


def test_pictures_move_by_no_more_than_the_shift_and_each_by_its_own():
    torch.manual_seed(0)
    image = torch.zeros(200, 1, 9, 9)
    image[:, :, 4, 4] = 1
    places = moved(image, 2, False).flatten(1).argmax(1)
    rows, columns = places // 9 - 4, places % 9 - 4
    assert sorted(set(rows.tolist())) == [-2, -1, 0, 1, 2] == sorted(set(columns.tolist()))


def test_half_of_the_pictures_are_mirrored():
    torch.manual_seed(0)
    image = torch.arange(4.0).expand(400, 1, 1, 4)
    result = moved(image, 0, True)[:, 0, 0]
    mirrored = (result == image[0, 0, 0].flip(0)).all(1)
    assert ((result == image[0, 0, 0]).all(1) | mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_the_preview_shows_what_it_is_least_sure_of_first():
    class Brightness(torch.nn.Module):
        def forward(self, image):
            sure = image.flatten(1).mean(1, keepdim=True)
            return image, torch.cat([sure, -sure], 1)

    training = ClassifierTraining(TINY, (1, 2, 2), ("a", "b"))
    image = torch.tensor([0.9, 0.1, 0.5]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    shown, row = training.preview(Brightness(), Tensors(image))
    assert shown[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert row == 3


def test_data_without_labels_is_refused():
    with pytest.raises(GenloomError, match="needs classes"):
        ClassifierTraining(TINY, (1, 8, 8), ())
    training = ClassifierTraining(TINY, (1, 8, 8), ("a", "b"))
    with pytest.raises(GenloomError, match="without a label"):
        training.losses(training.build(), Tensors(torch.rand(2, 1, 8, 8)))


def test_the_judge_that_ships_is_small_and_states_its_accuracy():
    card = Card.read(SHIPPED)
    assert card.parameters <= 150_000
    assert card.metrics["fashion-mnist/accuracy"] >= 0.91
    assert card.labels[9] == "Ankle boot"


def test_the_judge_that_ships_knows_the_clothes_of_the_demo():
    folder = Path(genloom.__file__).parent / "demo" / "clothes"
    import cv2

    paths = sorted(folder.glob("*.png"))
    pixels = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths])
    items = [Item(key=path.stem, name=path.stem) for path in paths]
    model = genloom.open_model(SHIPPED, provider="cpu").model
    batch = model.fit(Batch.images(items, pixels[..., None]))
    logits = model.run("classifier", {"image": batch.data})["logits"]
    assert (logits.argmax(1) == np.arange(10)).sum() >= 8
