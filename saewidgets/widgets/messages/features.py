"""Messages and state of the extraction viewer; see `wire.py` for the channels and the base classes.

Activations are bulk data: they come as float32 buffers behind a result, in the order that the answer's docstring says.
Texts of tokens come once per answer (`texts`), and tokens point into that list.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from saewidgets.widgets.messages.effects import LogitsJob
from saewidgets.widgets.messages.saes import Choice, Histogram, SaeFact
from saewidgets.widgets.messages.wire import Command, Note, Wire

Tab = Literal["features", "prompt", "jobs"]
Show = Literal["all", "labelled", "unlabelled", "starred", "dead", "live", "dense"]
SortFeatures = Literal["index", "density", "max", "label", "score"]
Context = Literal["short", "snippet", "full"]
Step = Literal["previous", "next", "random", "next_live", "here"]
RankBy = Literal["max", "sum", "token"]
Below = Literal["", "steering", "download"]
ExtractionAct = Literal["pause", "resume", "cancel", "delete"]
ExportKind = Literal["html", "json", "csv", "neuronpedia", "vectors", "labels_csv", "labels_jsonl", "interpretations"]


# ---------------------------------------------------------------------------------------------------- state


class ExtractionCard(Wire):
    """One extraction as the list of jobs shows it."""

    id: str
    sae_id: str | None = None  # None: of a training that is not in the library
    training_id: str | None = None
    name: str  # of the SAE
    source: str  # "trained", "huggingface", "gemma_scope", "local"
    source_label: str
    model: str
    d_sae: int
    status: str  # JobStatus value
    tokens_total: int
    tokens_done: int
    fraction: float
    rate: float | None = None  # tokens/s
    eta_seconds: float | None = None
    phase: str | None = None
    queue_position: int | None = None
    seen: int | None = None  # latents that have fired so far
    dead: int | None = None
    dense: int | None = None  # above 1 %
    size_bytes: int | None = None
    seconds_running: float = 0.0
    created_at: float
    note: Note | None = None
    has_logits: bool = False  # the logit effects of all its features are stored
    logits: LogitsJob | None = None  # the job that computes them, while there is something to say of it


class FeatureQuery(Wire):
    """Which features the list shows, in which order."""

    search: str = Field(default="", max_length=500)
    show: Show = "all"
    sort: SortFeatures = "index"
    descending: bool = False


class ViewerView(Wire):
    """What a view of the viewer shows: a plain value that restores it (`viewer.view`)."""

    tab: Tab = "features"
    extraction_id: str | None = None
    feature: int | None = None
    query: FeatureQuery = FeatureQuery()
    context: Context = "snippet"
    line_breaks: bool = False
    prompt: str = Field(default="", max_length=100_000)
    dialog_sae: str | None = None  # *Start extraction* is asked for with this SAE chosen; None when it is closed


class OpenExtraction(Wire):
    """The extraction whose features are shown."""

    id: str
    sae_id: str | None = None
    name: str
    model: str
    hook_name: str
    d_sae: int
    n_tokens: int
    n_contexts: int
    context_size: int
    n_documents: int
    dead: int
    dense: int
    labelled: int
    starred: int
    versions: tuple[Choice, ...] = ()  # extractions of the same SAE, newest first: "19 Nov, 1M tokens"
    live: bool = True  # whether the model and the SAE can be loaded here: own text, prompts, full contexts
    live_note: str = ""  # why not


class ViewerState(Wire):
    """The synced trait `state` of the extraction viewer."""

    revision: int = 0
    workspace: str = "default workspace"
    code: str = ""  # what code calls the workspace: "ws"; "" for the default one
    below: Below = ""  # what stands below the viewer
    cards: tuple[ExtractionCard, ...] = ()
    total: int = 0
    active: int = 0  # queued or running: the count of the tab Jobs
    open: OpenExtraction | None = None
    view: ViewerView = ViewerView()
    n_saes: int = 0
    features_revision: int = 0  # grows when labels, stars or notes change: lists and pages ask again
    notice: Note | None = None
    updated_at: float = 0.0


# ------------------------------------------------------------------------------------- page → Python: extractions


class ListSaes(Command):
    """Answered with `SaeChoices`."""

    kind: Literal["list_saes"] = "list_saes"
    source: str | None = None
    model: str | None = None
    search: str = Field(default="", max_length=500)


class ExtractionForm(Command):
    """Answered with `ExtractionFormData`: the defaults for this SAE, or the values of an extraction to try again."""

    kind: Literal["extraction_form"] = "extraction_form"
    sae_id: str
    extraction_id: str | None = None


class CheckExtraction(Command):
    """Answered with `ExtractionCheck`. `values` are what was typed, by field name of `ExtractionConfig`."""

    kind: Literal["check_extraction"] = "check_extraction"
    sae_id: str
    values: dict[str, Any]


class StartExtraction(Command):
    """Answered with `{"extraction_id"}`."""

    kind: Literal["start_extraction"] = "start_extraction"
    sae_id: str
    values: dict[str, Any]


class TryDemo(Command):
    """Open the demo SAE with its features; answered with `{"extraction_id"}`."""

    kind: Literal["try_demo"] = "try_demo"


class ExtractionAction(Command):
    """Answered with null; what came of it is state."""

    kind: Literal["extraction_action"] = "extraction_action"
    extraction_id: str
    action: ExtractionAct


class ShowView(Command):
    """The page shows something else now; answered with null. Opening an extraction goes through here."""

    kind: Literal["show_view"] = "show_view"
    view: ViewerView


# ------------------------------------------------------------------------------------- page → Python: features


class QueryFeatures(Command):
    """Answered with `FeatureRows`: rows `offset` … of the features that match, at most 200."""

    kind: Literal["query_features"] = "query_features"
    extraction_id: str
    query: FeatureQuery
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=200)


class StepFeature(Command):
    """Answered with `FeaturePlace`: the neighbour of `index` in the order of the query, or its own place ("here")."""

    kind: Literal["step_feature"] = "step_feature"
    extraction_id: str
    query: FeatureQuery
    index: int
    step: Step


class OpenFeature(Command):
    """Answered with `FeaturePage`, whose buffer "activations" has the values of all examples, one after another."""

    kind: Literal["open_feature"] = "open_feature"
    extraction_id: str
    index: int = Field(ge=0)


class FeatureLogits(Command):
    """Answered with `FeatureLogitsData`; the first time loads the model."""

    kind: Literal["feature_logits"] = "feature_logits"
    extraction_id: str
    index: int = Field(ge=0)


class FeatureRelations(Command):
    """Answered with `FeatureRelationsData`."""

    kind: Literal["feature_relations"] = "feature_relations"
    extraction_id: str
    index: int = Field(ge=0)


class ExpandExample(Command):
    """Answered with `ExampleContext`, buffer "activations": the whole context of an example."""

    kind: Literal["expand_example"] = "expand_example"
    extraction_id: str
    index: int = Field(ge=0)
    position: int = Field(ge=0)  # stream position of its peak


class TestText(Command):
    """Answered with `TestedText`, buffer "activations": one value per token."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    kind: Literal["test_text"] = "test_text"
    extraction_id: str
    index: int = Field(ge=0)
    text: str = Field(max_length=100_000)


class ReadPrompt(Command):
    """Answered with `PromptReading`, buffer "activations": row by row, one value per token."""

    kind: Literal["read_prompt"] = "read_prompt"
    extraction_id: str
    text: str = Field(max_length=100_000)
    rank_by: RankBy = "max"
    token: int | None = None  # position to rank by
    hide_dense: bool = True
    limit: int = Field(default=50, ge=1, le=200)


class EditFeature(Command):
    """Answered with `FeatureNotes`. None leaves a field as it is; an empty label removes the user's own."""

    kind: Literal["edit_feature"] = "edit_feature"
    extraction_id: str
    index: int = Field(ge=0)
    label: str | None = Field(default=None, max_length=1000)
    description: str | None = Field(default=None, max_length=20_000)
    notes: str | None = Field(default=None, max_length=20_000)
    starred: bool | None = None


class SuggestLabel(Command):
    """Answered with `Suggestion`; nothing is saved."""

    kind: Literal["suggest_label"] = "suggest_label"
    extraction_id: str
    index: int = Field(ge=0)


class LabelFeatures(Command):
    """Label every live feature without a label by the offline heuristic; answered with `{"labelled", "skipped"}`."""

    kind: Literal["label_features"] = "label_features"
    extraction_id: str


class ExportFeatures(Command):
    """Write a file or folder; answered with `{"path", "size_bytes"}`. None exports what the query matches."""

    kind: Literal["export_features"] = "export_features"
    extraction_id: str
    what: ExportKind
    path: str
    indices: tuple[int, ...] | None = None
    query: FeatureQuery | None = None


class ImportLabels(Command):
    """Answered with `{"imported", "skipped"}`; problems are an error that names the line."""

    kind: Literal["import_labels"] = "import_labels"
    extraction_id: str
    path: str


class SteerFeature(Command):
    """Open *Steering* below the viewer with this feature added; answered with null."""

    kind: Literal["steer_feature"] = "steer_feature"
    extraction_id: str
    index: int = Field(ge=0)


# ------------------------------------------------------------------------------------- Python → page: extractions


class SaeChoice(Wire):
    """A row of *Choose an SAE*."""

    id: str
    name: str
    source: str
    source_label: str
    model: str | None = None
    layer: int | None = None
    d_sae: int
    features_extracted: str = "none"  # "16,384", "13,434 so far"
    state: Literal["ok", "missing", "downloading"] = "ok"


class SaeChoices(Wire):
    """All SAEs that match; `note` says what is not offered and why."""

    rows: tuple[SaeChoice, ...] = ()
    total: int = 0
    sources: tuple[Choice, ...] = ()
    models: tuple[Choice, ...] = ()
    note: str = ""


class ExtractionField(Wire):
    """A field of the dialog."""

    name: str
    label: str
    value: str | bool
    hint: str = ""
    help: str = ""


class ExtractionFormData(Wire):
    """What the dialog starts with."""

    sae_id: str
    name: str
    d_sae: int
    fields: tuple[ExtractionField, ...] = ()


class ExtractionCheck(Wire):
    """Errors by field, and what it will cost when there are none."""

    errors: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    seconds: float | None = None
    disk_bytes: int | None = None
    disk_free: int | None = None
    memory_bytes: int | None = None
    memory_free: int | None = None
    warnings: tuple[Note, ...] = ()


# ------------------------------------------------------------------------------------- Python → page: features


class FeatureRow(Wire):
    """One feature as the list shows it. Without a label its top tokens stand in for one."""

    index: int
    label: str = ""
    auto: bool = False  # the label was not written by a person
    top_tokens: tuple[str, ...] = ()  # as they are; the page writes · for a leading space
    density: float = 0.0
    max: float = 0.0
    score: float | None = None
    starred: bool = False


class FeatureRows(Wire):
    """A piece of the list; `matching` is its whole length."""

    matching: int
    offset: int
    max_density: float = 0.0  # of the whole extraction: the length of the bars
    rows: tuple[FeatureRow, ...] = ()


class FeaturePlace(Wire):
    """A feature and its place in the list; index None: there is none in that direction."""

    index: int | None
    row: int | None = None


class Example(Wire):
    """One example; its activations are `len(tokens)` values of the buffer, starting where the example before ended."""

    position: int  # stream position of the peak
    value: float
    peak: int  # which of `tokens`
    tokens: tuple[int, ...]  # into `texts`
    before: bool = False  # whether the context goes on before, and after
    after: bool = False
    offset: int = 0  # of the peak within its context
    context: int = 0
    document: int | None = None


class ExampleGroup(Wire):
    """*Top activations*, or an interval with its share of all firings and of all tokens."""

    title: str
    low: float | None = None
    high: float | None = None
    count: int = 0  # firings in it
    share: float | None = None  # of the feature's firings
    token_share: float | None = None
    examples: tuple[Example, ...] = ()


class FeatureLabel(Wire):
    """One label of a feature; the first one counts."""

    text: str
    description: str = ""
    source: Literal["user", "auto", "imported"]
    by: str = ""  # "offline heuristic", "gpt-…, detection 0.86, 92 of 100 judged"
    created_at: float = 0.0


class FeatureNotes(Wire):
    """What people said about a feature."""

    index: int
    labels: tuple[FeatureLabel, ...] = ()
    notes: str = ""
    starred: bool = False


class TokenCount(Wire):
    """How often the kept examples peak at a token."""

    token: str
    count: int
    share: float
    mean: float


class FeaturePage(Wire):
    """All of a feature that needs no model."""

    extraction_id: str
    index: int
    density: float
    fired: int
    n_tokens: int
    max: float
    mean: float
    n_documents: int
    documents: int
    notes: FeatureNotes
    row: FeatureRow
    texts: tuple[str, ...] = ()
    groups: tuple[ExampleGroup, ...] = ()
    histogram: Histogram | None = None
    tokens: tuple[TokenCount, ...] = ()
    facts: tuple[SaeFact, ...] = ()
    link: str = ""  # code that shows this page again
    list_max: float = 0.0  # what shades are relative to: the feature's largest activation


class TokenLogit(Wire):
    """A token and by how much the feature changes its logit per unit of activation."""

    token: str
    logit: float


class FeatureLogitsData(Wire):
    """What the decoder direction does to the next token."""

    index: int
    raises: tuple[TokenLogit, ...] = ()
    lowers: tuple[TokenLogit, ...] = ()
    histogram: Histogram | None = None
    problem: Note | None = None


class RelatedFeature(Wire):
    """A neighbour: the cosine of decoder directions, or the share of firings that coincide."""

    index: int
    label: str = ""
    top_tokens: tuple[str, ...] = ()  # stand in for a label, as in the list
    value: float


class FeatureRelationsData(Wire):
    """Neighbours of a feature."""

    index: int
    similar: tuple[RelatedFeature, ...] = ()
    coactive: tuple[RelatedFeature, ...] = ()
    sampled: int = 0  # firings in the co-activation sample
    note: str = ""
    problem: Note | None = None


class ExampleContext(Wire):
    """A whole context around an example."""

    position: int
    peak: int
    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    complete: bool = True  # whether every activation is known; else only those near the peak
    note: str = ""


class TestedText(Wire):
    """A feature on somebody's own text."""

    __test__ = False

    index: int
    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    max: float = 0.0
    fired: int = 0
    seconds: float = 0.0
    note: str = ""  # "BOS is left out", "cut to 256 tokens"


class PromptRow(Wire):
    """A feature that fires on the prompt."""

    index: int
    label: str = ""
    auto: bool = False
    top_tokens: tuple[str, ...] = ()
    density: float
    max: float  # on this text
    own_max: float  # in the extraction: what shades are relative to


class PromptReading(Wire):
    """Which features fire on a text."""

    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    rows: tuple[PromptRow, ...] = ()
    firing: int = 0  # features that fire at all
    hidden: int = 0  # left out because of their density
    note: str = ""


class Suggestion(Wire):
    """A label somebody may save."""

    index: int
    text: str
    by: str
    note: str = ""
