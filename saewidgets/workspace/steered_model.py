"""`saewidgets.steered`: a model that is steered inside a ``with`` block, its SAEs looked up in a workspace."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from saewidgets.errors import ConfigError
from saewidgets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from saewidgets.config.steering import Positions
    from saewidgets.steering import Steering
    from saewidgets.workspace.workspace import Workspace


_lock = threading.Lock()
_default: Workspace | None = None


def default_workspace() -> Workspace:
    """The workspace in ``$SAEWIDGETS_HOME`` (else ``~/.saewidgets``), opened at the first call."""
    global _default
    with _lock:
        if _default is None or _default.closed:
            _default = Workspace()
        return _default


@contextmanager
def steered(
    model: Any,
    features: Sequence[Any],
    *,
    sae: Any = None,
    ws: Workspace | None = None,
    positions: Positions | Sequence[int] = "all",
    steer_bos: bool = False,
    tokenizer: Any = None,
    prompt_tokens: int | None = None,
) -> Iterator[Steering]:
    """Steer a model with features of SAEs inside a ``with`` block; ``model.generate(…)`` works as always.

    >>> with steered(model, [("sae_5f0c9a1e", 7451, 2.0)]):
    ...     model.generate(**tokenizer("In the morning", return_tensors="pt"))

    Args:
        model: a transformers causal language model, or a `LoadedModel`; None takes the SAE's own, which the block
            yields as ``.model``.
        features: each ``(sae_id, index, strength)``, ``(sae_id, index, strength, mode)``, or a `SteeringFeature`.
            The strength is in units of the feature's largest activation, which an extraction knows; else it is
            estimated on some text.
        sae: the SAE of features that name none: its id; or the SAE itself (what `load_sae` returns, a `SteeringSource`
            or a mapping of those), then no workspace is used.
        ws: where ids are looked up; None takes the default workspace.
        positions, steer_bos, prompt_tokens: see `saewidgets.steering.steered`.
        tokenizer: the model's; says which token is BOS, and reads the text for an estimate. None: the model's
            configuration says the first, and the tokenizer of the model that the SAE names does the second.

    Raises:
        ConfigError, NotFoundError, HookError: something does not fit; the model is as it was.
        SteeringError: the model would have run unsteered, or to no end.
    """
    settings: dict[str, Any] = {
        "positions": positions, "steer_bos": steer_bos, "prompt_tokens": prompt_tokens, "tokenizer": tokenizer
    }  # fmt: skip
    if sae is not None and not isinstance(sae, str):
        from saewidgets.steering import steered as attach  # torch: seconds to import

        if ws is not None:
            raise ConfigError(
                "An SAE and a workspace were given.", where="sae", hint="Give its id as sae=…, or leave ws=… out."
            )
        with attach(model, features, sae=sae, **settings) as steering:
            yield steering
        return
    with (ws or default_workspace()).steering.attached(model, features, sae=sae, **settings) as steering:
        yield steering
