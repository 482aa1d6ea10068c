"""Messages and state of the steering widget; see `wire.py` for the channels and the base classes.

What a text looks like while it is written is in the state, the newest part of it; the whole result is answered to who
asks, and what could have come at a token only for that token.
"""

from typing import Annotated, Literal

from pydantic import Field

from saewidgets.widgets.messages.wire import Note, State, Wire

NEW_TOKENS = 4096  # most of one text that the widget shows; `ws.steer` writes longer ones
LIVE = 4000  # characters of a text in the making
PROMPT = 100_000  # characters

Mode = Literal["add_max", "add", "clamp", "conditional_clamp", "scale", "ablate"]
PositionWord = Literal["all", "generated", "prompt"]
What = Literal["generate", "sweep"]
TextName = Literal["baseline", "steered"]
ChatAction = Literal["new", "edit"]
PresetAction = Literal["save", "load", "delete"]
Place = Annotated[int, Field(ge=0)]
Strength = Annotated[float, Field(ge=-1e6, le=1e6)]


class SteeringSae(Wire):
    """An SAE whose features can be added."""

    id: str
    name: str
    model: str | None = None
    hook_name: str | None = None
    d_sae: int


class SteeringRow(Wire):
    """One feature that is steered with."""

    key: str  # stays the same while the row is there
    sae_id: str
    sae: str  # its name; drawn where there are several
    index: int
    label: str = ""
    tokens: tuple[str, ...] = ()  # at which it peaks most often
    mode: Mode = "add_max"
    strength: float = 0.0
    a_max: float | None = None  # largest activation; None: not known (yet)
    usual: float | None = None  # strength of "add_max" at which the change is moderate; None: not known (yet)
    basis: str = ""  # over which text: "over 8,192 tokens of the demo corpus (an estimate)"
    pending: bool = False  # the largest activation is being looked for
    problem: Note | None = None


class SteeringSettings(Wire):
    """Everything that is set besides the features."""

    positions: PositionWord | tuple[Place, ...] = "all"
    steer_bos: bool = False
    prepend_bos: bool = True
    chat: bool = False
    multiplier: float = Field(default=1.0, ge=-100, le=100)
    prompt: str = Field(default="", max_length=PROMPT)
    system: str = Field(default="", max_length=PROMPT)
    new_tokens: int = Field(default=60, ge=1, le=NEW_TOKENS)
    temperature: float = Field(default=0.7, ge=0, le=100)
    top_p: float = Field(default=0.95, gt=0, le=1)
    frequency_penalty: float = Field(default=0.0, ge=-10, le=10)
    seed: int = Field(default=16, ge=0, le=2**53 - 1)
    strengths: tuple[Strength, ...] = Field(default=(-4.0, -2.0, 0.0, 2.0, 4.0), min_length=1, max_length=12)
    swept: str = ""  # key of the feature that is swept; "" is the first


class SteeringTurn(Wire):
    """A turn of the chat: the user's message, and the answer of each side."""

    user: str
    baseline: str = ""
    steered: str = ""


class LiveText(Wire):
    """A text in the making: its newest characters."""

    run: Literal["baseline", "steered", "sweep"]
    strength: float | None = None
    tokens: int = 0
    text: str = ""


class SteeringRun(Wire):
    """What was generated last, or is being generated. `number` grows with every run; 0: none yet."""

    number: int = 0
    kind: What = "generate"
    status: Literal["idle", "running", "stopping", "done", "stopped", "failed"] = "idle"
    phase: str = ""  # "loading", "measuring", "writing"
    turn: Place | None = None  # which turn of the chat is answered; None outside of a chat
    texts: tuple[LiveText, ...] = ()
    seconds: float = 0.0
    problem: Note | None = None


class Gauge(Wire):
    """Mean ‖Δ‖/‖h‖ over steered tokens; None: not known."""

    ratio: float | None = None
    over: str = ""  # "steered tokens", "steered tokens of the prompt"


class SteeringState(State):
    """The synced trait `state` of the steering widget. `revision` grows with every change."""

    saes: tuple[SteeringSae, ...] = ()  # of the library, newest first
    sae_id: str = ""  # the one that an index is looked up in
    rows: tuple[SteeringRow, ...] = ()
    settings: SteeringSettings = SteeringSettings()
    turns: tuple[SteeringTurn, ...] = ()  # of the chat; the last one is answered again where the prompt is empty
    chat_problem: str = ""  # why the model takes no chat; "" if it does, or as long as that is not known
    system_problem: str = ""  # the same of a system prompt
    gauge: Gauge = Gauge()
    run: SteeringRun = SteeringRun()
    generated: int = 0  # number of the run whose texts can be asked for; 0: none
    swept: int = 0  # the same for the sweep
    presets: int = 0  # how many there are
    code: str = ""  # what code calls the workspace: "ws"; "" for the default one
    can_browse: bool = False  # somebody shows the features browser when asked
    can_close: bool = False  # somebody takes it away when asked
    embedded: bool = False  # it stands inside another widget, which draws the frame


class SteeringEditRow(Wire):
    """New values of a row."""

    key: str
    mode: Mode
    strength: Strength


class SteeringHit(Wire):
    """A feature that was found."""

    index: int
    label: str = ""
    tokens: tuple[str, ...] = ()  # at which it peaks most often


class SteeringHits(Wire):
    """Features to add, the nearest first; `note` says why there are none."""

    sae_id: str
    text: str
    hits: tuple[SteeringHit, ...] = ()
    note: str = ""


class SteeringText(Wire):
    """One text: `changed` lists the tokens that the other text does not have there, by alignment."""

    pieces: tuple[str, ...] = ()
    changed: tuple[int, ...] = ()
    finish: Literal["length", "end", "stopped"] = "length"
    perplexity: float | None = None
    repetition: float = 0.0
    kl_first: float | None = None
    change_ratio: float | None = None


class SweptText(Wire):
    """One text of a sweep."""

    strength: float
    text: str
    perplexity: float | None = None
    repetition: float = 0.0
    change_ratio: float | None = None


class SteeringTexts(Wire):
    """What a run has written."""

    number: int
    prompt_pieces: tuple[str, ...] = ()
    turn: Place | None = None  # which turn of the chat they answer; None outside of a chat
    baseline: SteeringText = SteeringText()
    steered: SteeringText | None = None
    first_difference: int | None = None
    sweep: tuple[SweptText, ...] = ()
    swept: str = ""  # key of the row that was swept, "" if it is gone
    swept_name: str = ""  # "feature 7451"
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    stopped: bool = False


class NextToken(Wire):
    """A token that could have come, with its probabilities."""

    piece: str
    baseline: float
    steered: float


class SteeringNextData(Wire):
    """What could have come at token `token` of a text (0 is the first new one), given the same text before."""

    number: int
    text: TextName
    token: int
    piece: str
    rows: tuple[NextToken, ...] = ()
