"""Messages and state of the extraction viewer; see `wire.py` for the channels and the base classes.

Activations are bulk data: they come as float32 buffers behind a result, in the order that the answer's docstring says.
Texts of tokens come once per answer (`texts`), and tokens point into that list.
"""

from typing import Annotated, Literal

from pydantic import Field

from saewidgets.feature_records import ExtractionEstimate
from saewidgets.widgets.messages.saes import Choice, Histogram, NotImported, SaeFact
from saewidgets.widgets.messages.wire import Index, JobCard, Note, State, Wire

Text = Annotated[str, Field(max_length=100_000)]
Tab = Literal["features", "prompt", "jobs"]
Show = Literal["all", "labelled", "unlabelled", "starred", "dead", "live", "dense"]
SortFeatures = Literal["index", "density", "max", "label", "score"]
Context = Literal["short", "snippet", "full"]
Step = Literal["previous", "next", "random", "next_live", "here"]
RankBy = Literal["max", "sum", "token"]
Below = Literal["", "steering", "download"]
LogitsAct = Literal["start", "pause", "resume", "cancel"]
ExtractionAct = Literal["pause", "resume", "cancel", "delete"]
ExportKind = Literal["html", "json", "csv", "neuronpedia", "vectors", "labels_csv", "labels_jsonl", "interpretations"]


class LogitsJob(JobCard):
    """The job that computes the logit effects of all features of an extraction."""

    done: int = 0  # features
    total: int = 0


class ExtractionCard(JobCard):
    """One extraction."""

    sae_id: str | None = None  # None: of a training that is not in the library
    training_id: str | None = None
    name: str  # of the SAE
    source: str  # "trained", "huggingface", "gemma_scope", "local"
    source_label: str
    repo_id: str | None = None
    training_name: str | None = None
    model: str
    d_sae: int
    tokens_total: int
    tokens_done: int
    seen: int | None = None  # latents that have fired so far
    dead: int | None = None
    dense: int | None = None  # above 1 %
    size_bytes: int | None = None
    seconds_running: float = 0.0
    has_logits: bool = False  # the logit effects of all its features are stored
    logits: LogitsJob | None = None  # the job that computes them, while there is something to say of it
    place: tuple[str, ...] = ()  # "by ada on gpu-box": of another user or machine
    has_files: bool = True  # False: they are in a folder of that machine, which is not seen here


class LabelJob(JobCard):
    """The newest job that labels features of the open extraction."""

    done: int = 0  # features
    total: int = 0
    model: str
    said: str = ""  # what came of it


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
    test: str = Field(default="", max_length=100_000)  # the text in *Test your text*
    dialog_sae: str | None = None  # *Start extraction* is asked for with this SAE chosen; None when it is closed


class OpenExtraction(Wire):
    """The extraction whose features are shown."""

    id: str
    name: str
    model: str
    hook_name: str
    d_sae: int
    n_tokens: int
    context_size: int
    dead: int
    labelled: int
    versions: tuple[Choice, ...] = ()  # extractions of the same SAE, newest first: "19 Nov, 1M tokens"
    live: bool = True  # whether the model and the SAE can be loaded here: own text, prompts, full contexts
    live_note: str = ""  # why not


class ViewerState(State):
    """The synced trait `state` of the extraction viewer."""

    code: str = ""  # what code calls the workspace: "ws"; "" for the default one
    below: Below = ""  # what stands below the viewer
    cards: tuple[ExtractionCard, ...] = ()
    total: int = 0
    active: int = 0  # queued or running: the count of the tab Jobs
    open: OpenExtraction | None = None
    view: ViewerView = ViewerView()
    n_saes: int = 0
    labelling: LabelJob | None = None  # None too when there is nothing new to say of it
    features_revision: int = 0  # grows when labels, stars or notes change: lists and pages ask again


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
    not_imported: NotImported = NotImported()


class ExtractionField(Wire):
    """A field of the dialog."""

    name: str
    label: str
    kind: Literal["text", "integer", "share", "boolean"] = "text"
    value: str | bool
    ticked: bool | float = True  # what a checkbox stands for
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
    estimate: ExtractionEstimate | None = None
    problem: Note | None = None  # of no field


class NamedFeature(Wire):
    """A feature and what it is called. Without a label its top tokens stand in for one."""

    index: int
    label: str = ""
    auto: bool = False  # the label was not written by a person
    top_tokens: tuple[str, ...] = ()  # as they are; the page writes · for a leading space


class FeatureListRow(NamedFeature):
    """One feature as the list shows it."""

    density: float = 0.0
    max: float = 0.0
    score: float | None = None
    starred: bool = False


class FeatureRows(Wire):
    """A piece of the list; `matching` is its whole length."""

    matching: int
    max_density: float = 0.0  # of the whole extraction: the length of the bars
    rows: tuple[FeatureListRow, ...] = ()


class FeaturePlace(Wire):
    """A feature and its place in the list; index None: there is none in that direction."""

    index: int | None
    row: int | None = None


class ExampleData(Wire):
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
    examples: tuple[ExampleData, ...] = ()


class LabelRequest(Wire):
    """What is typed into *Label with a model*, but for an access key."""

    llm: Literal["heuristic", "openai"] = "openai"
    base_url: str | None = None
    model: str | None = None
    key_env: str | None = None  # name of an environment variable of the kernel's machine
    index: Index | None = None  # this feature; None: the first `limit` live ones of the list
    query: FeatureQuery = FeatureQuery()
    limit: Annotated[int, Field(ge=1)] = 100
    unlabelled: bool = True  # of these only those that `Features.unlabelled` lists for the model
    score: bool = False
    price: tuple[float, float] | None = None  # of a million tokens in and out
    max_cost: float | None = None


class LabelPlan(Wire):
    """What that would ask, and about what it would cost."""

    features: int
    requests: int
    skipped: int  # answered before, or without examples that can be read
    tokens_in: int
    tokens_out: int
    cost: float | None
    prompt: str  # the first one, word for word


class FeatureLabel(Wire):
    """One label of a feature; the first one counts."""

    text: str
    tokens: tuple[str, ...] = ()  # of an automatic label that is a list of them: drawn instead of the text
    description: str = ""
    source: Literal["user", "auto", "imported"]
    by: str = ""  # "offline heuristic", "gpt-…, detection 0.86, 92 of 100 judged"
    score_at: float | None = None  # when that score was made, if what the judge said of each window is known
    created_at: float = 0.0


class JudgedLabel(Wire):
    """The windows behind a score, those that were judged wrongly first; the buffer has a value per token of each."""

    texts: tuple[str, ...]
    windows: tuple[tuple[int, ...], ...]  # tokens, into `texts`
    fires: tuple[bool, ...]
    said: tuple[bool | None, ...]  # what the judge answered; None: not readable


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
    row: FeatureListRow
    texts: tuple[str, ...] = ()
    groups: tuple[ExampleGroup, ...] = ()
    histogram: Histogram | None = None
    tokens: tuple[TokenCount, ...] = ()
    facts: tuple[SaeFact, ...] = ()
    link: str = ""  # code that shows this page again
    list_max: float = 0.0  # what shades are relative to: the feature's largest activation


class FeatureLogitsData(Wire):
    """What the decoder direction does to the next token."""

    raises: tuple[tuple[str, float], ...] = ()  # tokens, by how much the feature changes their logits per activation
    lowers: tuple[tuple[str, float], ...] = ()
    histogram: Histogram | None = None
    problem: Note | None = None


class RelatedFeature(NamedFeature):
    """A neighbour: the cosine of decoder directions, or the share of firings that coincide."""

    value: float


class FeatureRelationsData(Wire):
    """Neighbours of a feature."""

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

    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    max: float = 0.0
    fired: int = 0
    seconds: float = 0.0
    note: str = ""  # "BOS is left out", "cut to 256 tokens"


class PromptRow(NamedFeature):
    """A feature that fires on the prompt."""

    density: float
    max: float  # on this text
    own_max: float  # in the extraction: what shades are relative to


class PromptData(Wire):
    """Which features fire on a text."""

    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    rows: tuple[PromptRow, ...] = ()
    firing: int = 0  # features that fire at all
    hidden: int = 0  # left out because of their density
    note: str = ""


class WrittenFile(Wire):
    """A file or folder that was written."""

    path: str
    size_bytes: int


class Suggestion(Wire):
    """A label somebody may save."""

    index: int
    text: str
    tokens: tuple[str, ...] = ()
    by: str
    note: str = ""


class LossEffectData(Wire):
    """What a feature adds to the loss on the token that follows, in nats; or why that is not known."""

    effect: float | None = None
    loss: float | None = None  # of the model as it is
    problem: Note | None = None
