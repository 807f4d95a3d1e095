"""Latent maps: the encoded held-out pictures of one or several models, coloured by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import genloom
from genloom.catalog import Catalog
from genloom.errors import GenloomError, ModelError
from genloom.types import Floats
from genloom_train.data import Source
from genloom_train.evaluation.evaluate import Say
from genloom_train.evaluation.figures import Figures
from genloom_train.evaluation.judge import Judge, open_judge
from genloom_train.evaluation.real import Real, held_out, open_source
from genloom_train.evaluation.space import measure
from genloom_train.evaluation.subject import Subject

Method = Literal["auto", "pca", "tsne"]
COUNT = 4000
"""Held-out pictures on a map, unless said."""


@dataclass(frozen=True, kw_only=True)
class MapRequest:
    """What to draw.

    Attributes:
        models: names or paths of bundles with an encoder, side by side.
        dataset: name of a data set; `options` are its own, as `option=value`, `data` its folder.
        judge: name or path of a classifier; the one that knows the data unless named.
        method: how latents of more than two dimensions come onto paper; `auto` takes two
            dimensions as they are where all models have two, else PCA.
        count: held-out pictures used at most.
        seed: of the choice of pictures and of every draw.
        threads: of the runtime; 0 leaves the choice to it.
    """

    models: tuple[str, ...]
    dataset: str
    options: tuple[str, ...] = ()
    data: Path | None = None
    judge: str | None = None
    method: Method = "auto"
    count: int = COUNT
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One model's part of a map.

    Attributes:
        name: of the model.
        points: N×2.
        label: (N,), positions in `labels`.
        centre: where the origin of the latent space lies; None where the projection has none.
        axes: what the two axes are.
        drawn: some pictures by where they were drawn: `normal`, `prior`; n×H×W×C.
        figures: the numbers.
    """

    name: str
    points: Floats
    label: NDArray[np.int64]
    labels: tuple[str, ...]
    centre: tuple[float, float] | None
    axes: tuple[str, str]
    drawn: dict[str, Floats]
    figures: Figures


def panels(request: MapRequest, catalog: Catalog, say: Say = lambda text: None) -> list[Panel]:
    """Encode, project and measure, model by model, all on the same pictures.

    Raises:
        GenloomError: when a model, the data or a named judge is not at hand or does not fit.
    """
    subjects = [_subject(name, request, catalog) for name in request.models]
    source = open_source(request.dataset, request.options, request.data, request.seed, catalog)
    real = held_out(source, request.seed, request.count)
    if real.label is None:
        raise GenloomError(
            "the data set has no labels to colour a map by",
            expected="a data set with labels",
            got=source.description,
        )
    judge, notes = _judge(request, source, catalog)
    plane = all(int(np.prod(subject.latent)) == 2 for subject in subjects)
    method = request.method if request.method != "auto" or not plane else "plane"
    made = []
    for subject in subjects:
        say(f"encoding {len(real)} pictures with '{subject.card.name}'")
        fitted = subject.fit(real)
        said = (*notes, *fitted.change_from(real))
        made.append(_panel(subject, fitted, judge, method, request, said))
    return made


def _subject(name: str, request: MapRequest, catalog: Catalog) -> Subject:
    subject = Subject(genloom.open_model(name, threads=request.threads, catalog=catalog))
    if not subject.reconstructs:
        raise ModelError(
            f"'{subject.card.name}' has no latent space that pictures can be encoded into",
            expected="a model with an encoder and a decoder",
            got=", ".join(subject.card.parts),
        )
    return subject


def _judge(
    request: MapRequest, source: Source, catalog: Catalog
) -> tuple[Judge | None, tuple[str, ...]]:
    """The judge; without one the map is drawn all the same, and says so."""
    try:
        return open_judge(request.judge, source, catalog, request.threads), ()
    except GenloomError as error:
        if request.judge is not None:
            raise
        return None, (f"samples and walks are not judged: {error}",)


def _panel(
    subject: Subject,
    real: Real,
    judge: Judge | None,
    method: str,
    request: MapRequest,
    notes: Sequence[str],
) -> Panel:
    posterior = subject.encode(real)
    found, drawn = measure(subject, real, posterior, judge, request.seed)
    means = posterior.values.reshape(len(posterior), -1).astype(np.float64)
    points, centre, axes = project(means, method, request.seed)
    about = {
        "model": subject.card.name,
        "digest": subject.model.digest,
        "dataset": request.dataset,
        "pictures": len(real),
        "seed": request.seed,
        "judge": None if judge is None else judge.card.name,
        "method": method,
    }
    assert real.label is not None
    return Panel(
        name=subject.card.name,
        points=points,
        label=real.label,
        labels=real.labels,
        centre=centre,
        axes=axes,
        drawn={name: pixels[:100] for name, pixels in drawn.items()},
        figures=Figures(about=about, figures=tuple(found), notes=tuple(notes)),
    )


def project(
    latents: NDArray[np.float64], method: str, seed: int
) -> tuple[Floats, tuple[float, float] | None, tuple[str, str]]:
    """Latents N×d on a plane: points N×2, where the origin lies, and names of the axes."""
    if method == "plane" or latents.shape[1] == 1:
        flat = np.pad(latents, ((0, 0), (0, 2 - latents.shape[1])))
        return flat.astype(np.float32), (0.0, 0.0), ("$z_1$", "$z_2$")
    if method == "tsne":
        return _tsne(latents, seed), None, ("t-SNE", "")
    from sklearn.decomposition import PCA

    fitted: Any = PCA(2, svd_solver="full").fit(latents)
    points = fitted.transform(latents).astype(np.float32)
    x, y = fitted.transform(np.zeros((1, latents.shape[1])))[0]
    shares = [f"{100 * share:.0f} %" for share in fitted.explained_variance_ratio_]
    return points, (float(x), float(y)), (f"PCA 1 ({shares[0]})", f"PCA 2 ({shares[1]})")


def _tsne(latents: NDArray[np.float64], seed: int) -> Floats:
    """t-SNE (van der Maaten & Hinton 2008), begun at the two principal components."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.0, (len(latents) - 1) / 3))
    made = TSNE(2, init="pca", perplexity=perplexity, random_state=seed)
    return np.asarray(made.fit_transform(latents), np.float32)
