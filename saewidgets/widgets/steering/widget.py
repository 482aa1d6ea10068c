"""The steering widget: a language model writes with features turned up, down or off, beside what it writes itself."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from saewidgets.config import SteeringConfig
from saewidgets.render import Html
from saewidgets.render.static_views import steering_page
from saewidgets.widgets.messages.steering import SteeringSettings
from saewidgets.widgets.shell import Part, Shell, checked_workspace
from saewidgets.widgets.steering.commands import SteeringCommands
from saewidgets.widgets.steering.state import SteeringModel
from saewidgets.workspace import Workspace


class Steering(Shell, Part):
    """Turn features of SAEs up, down or off and read what the model writes then. Put it last in a cell to see it.

    Baseline and steered text use the same random numbers. Writing goes on while cells run, and shares the device with
    training runs token by token. `ws.steer` does the same from a script.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        sae: the SAE whose features are added: its id, a beginning of it, or its name. None: the newest.
        features: to begin with, each ``(index, strength)`` of `sae`, ``(sae_id, index, strength)``, the same with a
            mode at the end, or a `SteeringFeature`.
        prompt: to begin with.
        on_browse: called when *Open features browser* is pressed; without it the button shows the code that opens one.
        on_close: called when *Close steering* is pressed; without it there is no such button.
        embedded: it is inside a box that draws the frame.
        height: largest inner height of lists in pixels; they scroll beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.

    Raises:
        ConfigError: `theme`, `height` or a feature is invalid.
        NotFoundError: there is no such SAE; or the frontend is not built (source checkouts only).
    """

    _title = "Steering"
    _model: SteeringModel
    _commands: SteeringCommands

    def __init__(
        self,
        ws: Workspace | None = None,
        *,
        sae: Any = None,
        features: Sequence[Any] = (),
        prompt: str = "",
        on_browse: Callable[[], object] | None = None,
        on_close: Callable[[], object] | None = None,
        embedded: bool = False,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
    ) -> None:
        workspace = checked_workspace(ws, theme, height)
        self._model = SteeringModel(
            workspace, can_browse=on_browse is not None, can_close=on_close is not None, embedded=embedded,
            settings=SteeringSettings(prompt=prompt),
        )  # fmt: skip
        self._first_read()
        if sae is not None:
            self._model.choose(workspace.steering.record(sae).id)
        find = workspace.steering.record
        begin = [(find(known.id), each) for known, each in workspace.steering.resolve(list(features), sae)]
        self.on_browse, self.on_close = on_browse, on_close
        self._commands = SteeringCommands(self)
        for record, each in begin:
            self._commands.add_feature(record, each.index, each.strength, each.mode, each.a_max, each.label)
        super().__init__("steering", self._commands, theme=theme, height=height)
        self._start((self,), workspace.subscribe_saes(self._changed))

    @property
    def config(self) -> SteeringConfig:
        """All that is set. It waits for the largest activations of features that were just added, which may load the
        model.

        Raises:
            NotFoundError, StateError, FormatError: one of them cannot be found: its SAE or model cannot be loaded.
        """
        self._commands.find_maxima()
        return self._model.config(sweep=True)

    @property
    def result(self) -> Any:
        """The last `SteeringResult` with a steered text, or None."""
        return self._model.result("generate")[1]

    @property
    def sweep(self) -> Any:
        """The last `SteeringResult` of a sweep, or None."""
        return self._model.result("sweep")[1]

    def add(self, sae: Any, index: int, strength: float | None = None, mode: str = "add_max") -> None:
        """Add a feature; one that is already there stays as it is.

        Args:
            sae: its SAE: an id, a beginning of it, its name, or its record.
            index: its number.
            strength: None takes the one of `ws.steering.suggest`, at which text changes and stays text; with another
                mode than ``"add_max"`` there is none, and it is 1.
            mode: see `docs/steering.md`.

        Raises:
            NotFoundError, ConfigError, StateError: there is no such SAE or feature, or no room for more.
        """
        given = 1.0 if strength is None else strength
        [(known, each)] = self.workspace.steering.resolve([(sae, index, given, mode)])
        record = self.workspace.steering.record(known.id)
        chosen = None if strength is None and each.mode == "add_max" else each.strength
        self._commands.add_feature(record, each.index, chosen, each.mode, None, each.label)

    def choose(self, sae: Any) -> None:
        """Look features up in this SAE (its id, a beginning of it, its name, or its record); those added stay.

        Raises:
            NotFoundError: there is no such SAE.
        """
        self._model.choose(self.workspace.steering.record(sae).id)
        self._wake()

    def generate(self) -> None:
        """Do what *Generate* does. Raises `StateError` while it is writing, or when no feature is chosen."""
        self._commands.start("generate")

    def close(self) -> None:
        """Remove the widget from the page, stop writing, stop following the workspace."""
        if not self._closed:
            self._commands.close()
            super().close()

    def __repr__(self) -> str:
        count = len(self._model.rows)
        return f"<Steering {self._model.workspace.label}: {count} feature{'s' * (count != 1)}>"

    def _static(self) -> Html:
        results = [found._repr_html_() for found in (self.result, self.sweep) if found is not None]
        return steering_page(self._model.state().model_dump(mode="json"), results)
