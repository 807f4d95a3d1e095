"""What plugin authors test with: fakes of the engine and of models, and the contract of a stage.

    from genloom.testing import check_stage

    def test_it_keeps_the_contract_of_a_stage():
        check_stage(Sepia, amount=0.5)

Nothing here needs pytest, torch or a runtime: models are numpy functions behind the real engine,
so that colours, sizes and tiles are handled as they will be.
"""

from genloom.testing.contract import check_stage
from genloom.testing.fakes import FakeModel as FakeModel
from genloom.testing.fakes import FakeRun, FakeRuntime, fake_bundle, fake_model
from genloom.testing.pictures import image_batch, latent_batch

__all__ = [
    "FakeModel",
    "FakeRun",
    "FakeRuntime",
    "check_stage",
    "fake_bundle",
    "fake_model",
    "image_batch",
    "latent_batch",
]
