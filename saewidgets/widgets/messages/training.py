"""Messages and state of the training panel."""

from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.records import DeviceInfo, TemplateRecord
from saewidgets.widgets.messages.wire import Deleted, JobCard, Setting, State, Wire
from saewidgets.workspace.training.advice import Advice

Value = float | str | None  # non-finite ones are the strings "NaN", "Infinity", "-Infinity"; None: not measured
XAxis = Literal["tokens", "steps", "time"]
XRange = Literal["active", "all"]
Theme = Literal["light", "dark"]
YAxis = Literal["fvu", "ce_loss_score"]
Action = Literal["pause", "resume", "stop", "stop_without_saving", "retry", "delete", "import", "checkpoint"]
Section = Literal["model", "where", "sae", "training", "advanced"]
FieldType = Literal["text", "integer", "number", "boolean", "choice"]
Figure = Literal["charts", "pareto"]
ConfigData = dict[str, Any]
Over = dict[str, list[Any]]  # dotted name → the values that it takes in several trainings of one job


class Tile(Wire):
    """The five numbers of a card; None draws an en dash."""

    loss: Value = None
    l0: Value = None
    fvu: Value = None
    ce_loss_score: Value = None
    dead: Value = None  # share, 0…1
    val_dead: Value = None  # in its place where the run ended before its dead window
    ce_tokens: Value = None  # how many held-out tokens `ce_loss_score` is measured on


class Card(JobCard):
    """One training."""

    name: str
    model: str
    hook_name: str
    hook_name_out: str | None = None  # what a transcoder reconstructs
    stored: bool = False  # reads activations captured before: no language model runs
    architecture: str  # "TopK k 32", ready to show
    d_sae: int
    lr: float = 0.0  # its peak
    device: str
    tokens_total: int
    tokens_done: int
    step: int
    tiles: Tile = Tile()
    dead_window_tokens: int = 1_000_000
    checkpoint_count: int = 0
    checkpoint_bytes: int = 0
    last_checkpoint_step: int | None = None
    last_checkpoint_tokens: int | None = None
    sae_id: str | None = None
    finished_at: float | None = None
    heartbeat_at: float | None = None
    seconds_running: float = 0.0
    series: int | None = None  # 0…5: colour, dash and marker of its line in the charts; None = not charted
    job_id: str | None = None
    group_id: str | None = None  # runs that one job trains at once, or several that share the work
    group_name: str | None = None
    retry_of: str | None = None  # the name of the run that it repeats, with or without other settings
    continued_from: str | None = None  # name of the run that it goes on from; None where that was deleted, too
    continued_step: int | None = None  # the step of the checkpoint that it began with
    retry: dict[str, Any] | None = None  # settings to begin again with, where no checkpoint is worth resuming from
    advice: str | None = None  # the gravest thing to change, in a few words; all of it is in the details
    place: tuple[str, ...] = ()  # "by ada on gpu-box": of another user or machine
    has_files: bool = True  # False: they are in a folder of that machine, which is not seen here


class ChartLook(Wire):
    """What is selected and how the charts draw it: what a page can change."""

    training_ids: tuple[str, ...] = ()  # what somebody selected; the first six have a line (`series` of their card)
    followed: tuple[str, ...] = ()  # what has a line by itself, as it has just begun; buttons leave it alone
    x_axis: XAxis = "tokens"
    x_range: XRange = "active"  # where it ends: with the runs that are active, or with the longest
    metrics: tuple[str, str, str] = ("loss", "l0", "fvu")  # what each chart shows
    wide: int = Field(default=0, ge=0, le=3)  # number of the chart shown alone in full width; 0: all side by side
    log_x: bool = False
    log_y: bool = True
    show_raw: bool = True
    smoothing: int = Field(default=40, ge=0, le=100)
    theme: Theme = "light"  # as last measured by the page


class ChartState(ChartLook):
    """The look, and what the charts are like with it; kept in Python so that all views of a panel agree."""

    longer: bool = False  # others reach further than those that are active
    zoomed: bool = False
    summaries: tuple[str, ...] = ()  # one sentence per chart
    choices: dict[str, str] = Field(default_factory=dict)  # metrics of the charted runs → what they are called
    figures: str = ""  # id of the widget model that holds the figures


class ResultRow(Wire):
    """One measured number of every compared run, ready to show; `best` says whose are the best."""

    label: str
    values: tuple[str, ...]
    best: tuple[bool, ...]


class ParetoPoint(Wire):
    """One run of the Pareto view."""

    id: str
    name: str
    architecture: str  # "topk"
    kind: str  # "TopK"
    label: str  # what tells it apart: "k 32"
    l0: float
    y: float
    front: bool  # no other run is at least as sparse and better
    preliminary: str = ""  # why it cannot be on the line: "failed", "training batches only"


class Scope(Wire):
    """Runs whose numbers may be compared with each other: of one model, what they read and what they reconstruct."""

    value: str  # "" is all runs
    label: str  # "gpt2 · blocks.6.hook_resid_post"
    count: int


class CompareState(Wire):
    """What the comparison shows: kept in Python, because its figure is drawn there."""

    training_ids: tuple[str, ...]
    names: tuple[str, ...]
    series: tuple[int | None, ...]
    results: tuple[ResultRow, ...] = ()
    y_axis: YAxis = "fvu"
    scope: str = ""
    scopes: tuple[Scope, ...] = ()
    points: tuple[ParetoPoint, ...] = ()
    left_out: int = 0  # runs of the scope without both numbers
    summary: str = ""  # one sentence for those who cannot see the figure
    zoomed: bool = False


class PanelState(State):
    """The synced trait `state` of the panel. `revision` grows with every change.

    The panel's own part gets every card, the chart bar only those with a line, the footer none (`total` and `jobs`).
    """

    cards: tuple[Card, ...] = ()
    total: int = 0  # runs in the workspace
    jobs: int = 0  # in which they were trained
    charts: ChartState = ChartState()
    devices: tuple[DeviceInfo, ...] = ()
    compare: CompareState | None = None  # shown in place of the list
    templates_revision: int = 0  # grows when templates changed, whoever changed them; the page asks for the list
    deleted: tuple[Deleted, ...] = ()  # runs whose deletion can be undone
    sae_shown: str | None = None  # the SAE for which the SAE browser stands below, in place of all else


class StartedRun(Wire):
    """The run that a command concerns, and the group of several."""

    training_id: str
    group_id: str | None = None
    name: str = ""


class FormField(Wire):
    """One form field, taken from the JSON schema of TrainingConfig."""

    name: str  # dotted: "sae.k"
    label: str
    help: str = ""
    type: FieldType
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # what the choices are called, in their order
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False
    empty: str = ""  # what an empty field stands for: "off", "ten times per run"
    section: Section
    group: str = ""  # heading among the advanced ones
    architectures: tuple[str, ...] = ()  # empty: for all
    needs: str = ""  # "NAME=VALUE" of the setting without which it has no effect; "NAME": with any value, not empty


class FormData(Wire):
    """The New training form."""

    fields: tuple[FormField, ...]
    defaults: dict[str, Any]  # dotted name → value the form starts with
    # model → dotted name → what stands there until somebody changes it; for other models the defaults of the fields
    of_model: dict[str, dict[str, Any]] = Field(default_factory=dict)
    devices: tuple[DeviceInfo, ...] = ()
    # field name → values offered (models, datasets used before)
    suggestions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    stores: dict[str, str] = Field(default_factory=dict)  # what the activation stores among them are called, by id


class MemoryPartData(Wire):
    """One part of the memory bar."""

    label: str
    bytes: int


class OtherDeviceData(Wire):
    """Memory on another device than the autoencoder's: of the language model, or of the shuffle window."""

    device: str
    memory: tuple[MemoryPartData, ...] = ()
    total_bytes: int = 0
    free_bytes: int | None = None


class EstimateData(Wire):
    """Before Start: memory by part, time, disk. `seconds` is None where the device could not be measured."""

    device: str
    memory: tuple[MemoryPartData, ...] = ()
    memory_total_bytes: int = 0
    device_total_bytes: int | None = None
    device_free_bytes: int | None = None
    elsewhere: tuple[OtherDeviceData, ...] = ()
    seconds: float | None = None
    tokens_per_second: float | None = None
    basis: str = ""  # "estimated"
    disk_bytes: int = 0
    disk_free_bytes: int | None = None
    queue: int = 0  # runs ahead on that device
    queue_seconds: float | None = None  # how long they will take; None: none ahead, or it cannot be told
    warnings: tuple[str, ...] = ()


class ModelFactsData(Wire):
    """What is known of the chosen model without loading its weights."""

    parameters: int | None = None
    layers: int | None = None
    d_model: int | None = None
    context: int | None = None
    d_in: int | None = None
    heads: int | None = None  # of attention, in every layer


class CheckResult(Wire):
    """What a look at the form found; nothing was started."""

    fields: dict[str, str] = Field(default_factory=dict)  # by dotted name, a sentence each; empty: good
    hints: dict[str, str] = Field(default_factory=dict)  # by dotted name, a line of facts below the field
    warned: tuple[str, ...] = ()  # the fields whose line is a warning
    pending: tuple[str, ...] = ()  # fields still being looked up ("model"): check again in a second or two
    model: ModelFactsData | None = None
    name: str = ""  # the name the run (of several: their job) would get
    trainings: tuple[str, ...] = ()  # the names of several
    estimate: EstimateData | None = None


class CheckpointData(Wire):
    """One line of the table of checkpoints."""

    id: str
    label: str  # "latest", "best FVU", "step 1,000"
    best: bool = False
    step: int
    tokens: int
    fvu: float | None = None  # of the newest training batches
    val_fvu: float | None = None  # on held-out text, where it was measured at this very step
    val_tokens: int | None = None  # how many tokens of it
    best_by: float | None = None  # what "best" goes by, where that is not FVU
    size_bytes: int
    saved_at: float


class DetailsData(Wire):
    """What a card shows when it is opened."""

    checkpoints: tuple[CheckpointData, ...] = ()
    best_by: str = ""  # the name of `CheckpointData.best_by`; empty where "best" goes by FVU
    log: tuple[str, ...] = ()  # newest last, at most 200 lines
    settings: tuple[Setting, ...] = ()
    advice: tuple[Advice, ...] = ()  # the gravest first
    folder: str = ""
    traceback: str | None = None


class Picture(Wire):
    """One figure as SVG text, with its size in pixels."""

    name: str  # "loss": what its file is called
    width: int
    height: int
    svg: str


Ids = Annotated[tuple[str, ...], Field(max_length=1000)]
CheckpointAction = Literal["continue", "import", "delete"]
TemplateAct = Literal["rename", "describe", "favorite", "unfavorite", "delete"]
BulkAction = Literal["pause", "resume", "stop", "stop_without_saving", "retry", "import", "delete"]
GroupActionName = Literal["pause", "resume", "stop", "stop_without_saving", "retry", "delete"]


class ImportedSae(Wire):
    """The SAE that a checkpoint became."""

    sae_id: str
    name: str


class SettingRow(Wire):
    """One setting of all compared runs."""

    name: str  # dotted
    label: str
    values: tuple[str, ...]
    differs: bool


class ComparisonTableData(Wire):
    """Raw values, one row per run: where it stands, its settings by their dotted names, its newest metrics."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | bool | int | float | None, ...], ...] = ()


class PresetData(Wire):
    """One preset of the form's menu, see `saewidgets.config.templates.Preset`."""

    name: str
    description: str
    sources: tuple[str, ...] = ()
    ours: str = ""


class TemplatesData(Wire):
    """Favourites first, then by name; and the presets that the package brings."""

    templates: tuple[TemplateRecord, ...] = ()
    total: int = 0
    presets: tuple[PresetData, ...] = ()


class StoreRow(Wire):
    """One store of activations as the form lists it."""

    id: str
    name: str
    model: str = ""
    corpus: str = ""
    hook_names: tuple[str, ...] = ()
    tokens: int = 0
    size_bytes: int | None = None
    problem: str = ""  # why a training cannot read it
    values: dict[str, Any] = Field(default_factory=dict)  # dotted field names → values that the form takes from it
