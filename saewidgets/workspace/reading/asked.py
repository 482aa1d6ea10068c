"""The arguments of `ws.evaluate`, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from saewidgets.config import arguments as take
from saewidgets.config.positions import as_ids, as_slice
from saewidgets.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: the arguments of `Workspace.evaluate`."""

    what: Any
    corpus: Any = None
    tokens: int = 65_536
    hook_name: str | None = None
    hook_name_out: str | None = None
    context_size: int | None = None
    batch_size: int | None = None
    exclude_special_tokens: bool | Sequence[int] | None = None
    cross_entropy: bool | None = None
    mean_ablation: bool = False
    model: Any = None
    tokenizer: Any = None
    device: str | None = None
    progress: bool = True
    seqpos_slice: str | Sequence[int | None] | None = None

    def checked(self) -> Asked:
        """With plain values. Raises `ConfigError` naming the argument that cannot be one."""
        names = {name: take.optional_text(getattr(self, name), name, said) for name, said in (
            ("hook_name", "where the SAE reads"), ("hook_name_out", "what a transcoder reconstructs"),
            ("device", "where to compute"),
        )}  # fmt: skip
        counts = {name: take.count(value, name, said, least=least) for name, said, least in (
            ("tokens", "how many tokens to read", 1), ("context_size", "tokens per context", 2),
            ("batch_size", "contexts per forward", 1),
        ) if (value := getattr(self, name)) is not None}  # fmt: skip
        for name in ("cross_entropy", "mean_ablation", "progress"):
            if name != "cross_entropy" or self.cross_entropy is not None:
                take.truth(getattr(self, name), name, "a choice")
        if self.mean_ablation and self.cross_entropy is False:
            raise ConfigError(
                "With the mean activation in their place a cross-entropy is measured, and that was declined.",
                where="mean_ablation", hint="Leave cross_entropy on, or mean_ablation off.",
            )
        if isinstance(ids := self.exclude_special_tokens, list | tuple):
            _named("exclude_special_tokens", as_ids, ids)
        elif ids is not None:
            take.truth(ids, "exclude_special_tokens", "a choice or a list of token ids")
        _named("seqpos_slice", as_slice, self.seqpos_slice)
        return replace(self, **names, **counts)  # type: ignore[arg-type]


def asking(what: Any, corpus: Any, **settings: Any) -> Asked:
    """The arguments by their names. Raises `ConfigError`: there is no such one."""
    known = {field.name for field in fields(Asked)} - {"what", "corpus"}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(
            f"There is no such argument: {unknown[0]!r}.", where=unknown[0], hint=f"Use {', '.join(sorted(known))}."
        )
    return Asked(what, corpus, **settings)


def _named(where: str, read: Callable[[Any], Any], value: Any) -> None:
    """Raises the error of `read` with the name of the argument."""
    try:
        read(value)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from error
