"""Which ensemble serves a request: the one that it names, or the one that the named ensemble's routes choose by
the form of the request."""

from __future__ import annotations

from emerge_core.answers import form_of
from emerge_core.config import ensemble_of, resolve_name
from emerge_core.config.schema import Config, EnsembleConfig
from emerge_core.immutable import immutable
from emerge_core.types import ChatRequest, Route


@immutable(frozen=True, slots=True, kw_only=True)
class Serving:
    """The ensemble that serves a request. `name` is its name in the config, or that of a single model."""

    name: str
    ensemble: EnsembleConfig
    route: Route | None = None  # if routes chose it


def serving(config: Config, name: str, request: ChatRequest) -> Serving | None:
    """What serves a request for `name`; None if the config has no such name."""
    resolved, ensemble = resolve_name(config, name), ensemble_of(config, name)
    if resolved is None or ensemble is None:
        return None
    if not ensemble.routes:
        return Serving(name=resolved, ensemble=ensemble)
    form = form_of(request)
    target = ensemble.route(form)
    served_by = ensemble_of(config, target)
    if served_by is None or served_by.routes:
        raise AssertionError("routes lead to ensembles with members or to models: the config's checks hold that")
    return Serving(name=target, ensemble=served_by, route=Route(form, target))
