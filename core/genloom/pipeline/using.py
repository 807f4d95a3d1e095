"""The models that the stages of a pipeline use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genloom import models
from genloom.catalog import Catalog
from genloom.errors import GenloomError, InvalidFile, OptionError, UnknownName
from genloom.models import Bundle
from genloom.options import Option, listed
from genloom.pipeline.checked import Step, model_options
from genloom.pipeline.context import Context
from genloom.types import Kind

Steps = Sequence[Step | None]


def share_models(context: Context, steps: Steps) -> list[Step | None]:
    """Give a stage that takes latents and names no model the model that made them.

    A step that is None could not be read; what depends on it is not judged.
    """
    made_by: str | None = None
    doubtful = False
    current: Kind | None = Kind.NOTHING
    result: list[Step | None] = []
    for step in steps:
        if step is None:
            made_by, doubtful, current = None, True, None
            result.append(None)
            continue
        stage = step.stage
        fits = current in stage.kinds_taken() or current is None
        for option, name in list(model_options(stage)):
            if name is None and Kind.LATENT in (*stage.kinds_taken(), stage.gives):
                if made_by is not None:
                    stage = stage.with_options(**{option.name: made_by})
                else:
                    if fits and not doubtful:
                        _miss(context, step, option, first=current == Kind.NOTHING)
                    doubtful = True  # once is enough
            made_by = getattr(stage, option.name) or made_by
            doubtful = doubtful and made_by is None
        current = stage.gives
        made_by = made_by if current == Kind.LATENT else None
        result.append(replace(step, stage=stage))
    return result


def _miss(context: Context, step: Step, option: Option, *, first: bool) -> None:
    context.add_option(
        step.id,
        step.where,
        option.name,
        f"'{step.id}.{option.name}' is missing",
        at_key=True,
        expected="the name or path of a model",
        hint="" if first else "No stage before it says which model made the latents",
    )


def bundles_of(context: Context, steps: Steps) -> dict[str, Bundle]:
    """The bundles that options name, opened; each missing one is a problem, said once."""
    found: dict[str, Bundle] = {}
    missing: set[str] = set()
    for step in steps:
        for option, name in model_options(step.stage) if step is not None else ():
            if step is None or name is None or name in missing:
                continue
            try:
                base = context.base_of(step.id, option.name)
                bundle = found.get(name) or models.find(name, context.catalog, base)
                _check_bundle(bundle, option, context.catalog)
                step.stage.check_model(option.name, bundle.card)
            except InvalidFile as error:
                missing.add(name)
                context.problems += error.problems
            except GenloomError as error:
                missing.add(name)
                context.add_option(
                    step.id,
                    step.where,
                    _guilty(context, step, option, error),
                    f"{error.where}: {error.what}" if error.where else error.what,
                    expected=error.expected,
                    got=error.got,
                    hint=error.hint,
                )
            else:
                found[name] = bundle
    _check_same_latents(context, steps, found)
    _check_posteriors(context, steps, found)
    return found


def _guilty(context: Context, step: Step, option: Option, error: GenloomError) -> str:
    """The option that is to blame for what is wrong with the model of an option."""
    if not isinstance(error, OptionError):
        return option.name
    told = [name for name in (error.option, error.other) if context.was_told(step.id, name)]
    return told[0] if told else error.option


def _check_bundle(bundle: Bundle, option: Option, catalog: Catalog) -> None:
    card = bundle.card
    try:
        catalog.backend(card.family)
    except UnknownName as error:
        what = f"no plugin brings the family '{card.family}' of the model '{card.name}'"
        raise GenloomError(what, hint=error.hint) from None
    needed = option.model.match(card.parts) if option.model is not None else {}
    for asked, part in needed.items():
        if part is None:
            either = listed([f"'{name}'" for name in asked.split("|")], "or")
            raise GenloomError(
                f"the model '{card.name}' does not do what this stage needs",
                expected=f"a model with the part {either}",
                got=", ".join(card.parts),
            )


def _check_same_latents(context: Context, steps: Steps, bundles: dict[str, Bundle]) -> None:
    made_by: Bundle | None = None
    for step in steps:
        if step is None:
            made_by = None
            continue
        takes_latents = made_by is not None and Kind.LATENT in step.stage.kinds_taken()
        for option, name in model_options(step.stage):
            bundle = bundles.get(name or "")
            if bundle and made_by and takes_latents and bundle.digest != made_by.digest:
                context.add_option(
                    step.id,
                    step.where,
                    option.name,
                    "latents of one model mean nothing to another",
                    expected=made_by.card.name,
                    got=bundle.card.name,
                )
            made_by = bundle or made_by
        made_by = made_by if step.stage.gives == Kind.LATENT else None


def _check_posteriors(context: Context, steps: Steps, bundles: dict[str, Bundle]) -> None:
    """Whether latents that are sampled from have a posterior, as far as it is known before."""
    before: bool | None = None
    current: Kind | None = Kind.NOTHING
    for step in steps:
        if step is None:
            before = current = None
            continue
        if step.stage.needs_posterior and current == Kind.LATENT and before is False:
            context.add(
                step.where,
                f"the stage '{step.name}' has no posterior to work on",
                at_key=True,
                expected="latents that come straight from a variational model's encoder",
                got="plain latents",
            )
        before, current = _gives_posterior(step, bundles), step.stage.gives


def _gives_posterior(step: Step, bundles: dict[str, Bundle]) -> bool | None:
    """What the stage says, else what the card of its encoder does; None when neither tells."""
    if step.stage.gives_posterior is not None or Kind.IMAGE not in step.stage.kinds_taken():
        return step.stage.gives_posterior
    for _, name in model_options(step.stage):
        encoder = bundles[name].card.parts.get("encoder") if name in bundles else None
        if encoder is not None and {"mean", "latent"} & encoder.outputs.keys():
            return "log_variance" in encoder.outputs
    return None
