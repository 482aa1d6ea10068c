"""Who is asked for labels, named in a few words: what a command line can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

Kind = Literal["heuristic", "openai", "transformers"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OPENAI = "https://api.openai.com/v1"
KEY_ENV = "OPENAI_API_KEY"


class NotLoaded:
    """A language model by its name alone, for a plan: it cannot be asked."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __call__(self, messages: object) -> NoReturn:
        """Raises `ConfigError`: it was not loaded."""
        raise ConfigError("The language model was not loaded.", where=self.model, hint="Make it with load=True.")


def language_model(
    workspace: Workspace,
    kind: str = "heuristic",
    *,
    model: str | None = None,
    base_url: str | None = None,
    key_env: str | None = None,
    load: bool = True,
) -> Any:
    """A language model as `ws.features.auto_label`, `score` and `plan_labels` take it.

    Args:
        workspace: where one of transformers is loaded, and kept for a while.
        kind: ``heuristic`` (words that examples share; needs nothing), ``openai`` (a server that speaks OpenAI's chat
            completions, also one on this machine) or ``transformers`` (a model that is loaded here).
        model: as the server calls it; of ``transformers`` a Hugging Face id or a folder.
        base_url: of the server, up to before ``/chat/completions``; None is OpenAI's own.
        key_env: the environment variable with the key. None: ``OPENAI_API_KEY`` for OpenAI's own server, and no key for
            others, so that a key goes nowhere it was not meant for.
        load: False for a plan: a model of transformers is then not loaded, and cannot be asked.

    Raises:
        ConfigError: no such kind; a setting is missing, or is for another kind.
        NotFoundError, FormatError: the model cannot be loaded.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no language model {kind!r}.", where="llm", hint=f"Use {', '.join(KINDS)}.")
    _only_where_used(kind, model=model, base_url=base_url, key_env=key_env)
    if kind == "heuristic":
        return None
    if not model:
        example = "gpt-4o-mini" if kind == "openai" else "Qwen/Qwen2.5-0.5B-Instruct"
        raise ConfigError("It is not said which model to ask.", where="model_name", hint=f"For example {example}.")
    if kind == "openai":
        from saewidgets.features.labels import openai_compatible  # torch: seconds to import

        return openai_compatible(
            base_url or OPENAI, model, api_key_env=key_env or (KEY_ENV if base_url is None else None)
        )
    if not load:
        return NotLoaded(model)
    from saewidgets.features.labels import transformers_local  # torch: seconds to import

    loaded = workspace.features.live.model(None, model=model).lm
    return transformers_local(loaded.model, loaded.tokenizer, name=loaded.name)


def _only_where_used(kind: str, **settings: str | None) -> None:
    used = {"heuristic": (), "openai": tuple(settings), "transformers": ("model",)}[kind]
    for name, value in settings.items():
        if value is not None and name not in used:
            where = "model_name" if name == "model" else name
            raise ConfigError(
                f"This is not for the language model {kind!r}.", where=where,
                hint="Leave it out, or choose llm=openai." if name != "model" else "Choose llm=openai or transformers.",
            )
