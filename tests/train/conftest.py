"""Tiny networks: one thread is faster than two, and does not starve whatever else runs."""

import pytest
from exporting import one_registry as one_registry


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _few_latents():
    """Of data without an end, as many pictures are encoded for the card as tests need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genloom_train.latents.MOST", 1000)
        yield
