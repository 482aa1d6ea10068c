"""Messages and state of the SAE browser; see `wire.py` for the channels and the base classes."""

from typing import Annotated, Literal

from pydantic import Field

from saewidgets.records import LatentMatch
from saewidgets.widgets.messages.wire import Deleted, Index, Note, Setting, State, Wire

Source = Literal["trained", "huggingface", "gemma_scope", "local"]
Layer = Annotated[int, Field(ge=0, lt=2**31)]
SaeSort = Literal["newest", "oldest", "name", "model", "layer", "d_sae", "size"]
Below = Literal["download", "extractions", "steering"]


class SelectedSae(Wire):
    """A checked SAE, also where its card is on another page: what a question about it has to name."""

    id: str
    name: str
    size_bytes: int
    d_in: int
    d_sae: int
    features_extracted: int = 0
    training_id: str | None = None


class NotImported(Wire):
    """Completed trainings whose SAE is not in the library: how many, and the newest as id and name."""

    total: int = 0
    runs: tuple[tuple[str, str], ...] = ()


class SaeCard(SelectedSae):
    """One SAE as the list shows it."""

    source: str  # "trained", "huggingface", "gemma_scope", "local"
    source_label: str  # "Gemma Scope"
    canonical: bool = False
    model: str | None = None
    layer: int | None = None
    hook_name: str | None = None
    site: str = ""  # the hook point in words: "residual", "MLP output"
    architecture: str  # ready to show: "TopK, k 32"
    d_out: int | None = None  # only where it is not d_in
    format: str
    format_label: str  # "SAELens"
    created_at: float
    repo_id: str | None = None
    training_name: str | None = None
    fvu: float | None = None
    fvu_label: str = "FVU"  # and of which tokens: "FVU (held out)", "FVU (training)"
    ce_loss_score: float | None = None
    tags: tuple[str, ...] = ()
    state: Literal["ok", "missing", "changed"] = "ok"
    state_note: str = ""
    has_files: bool = True  # False: they are in a folder of another machine, which is not seen here


class Choice(Wire):
    """A value to choose, what it is called, and how many SAEs have it (None: not counted)."""

    value: str
    label: str
    count: int | None = None


class SaeQuery(Wire):
    """Which SAEs are shown; None does not ask."""

    source: Source | None = None
    model: str | None = None
    layer: Layer | None = None
    architecture: str | None = None
    format: str | None = None
    search: str = Field(default="", max_length=500)
    sort: SaeSort = "newest"
    offset: Index = 0


class About(Wire):
    """What somebody says about an SAE that is added; what is left out or empty is taken from its files."""

    name: str | None = None
    model: str | None = None
    hook_name: str | None = None
    apply_b_dec_to_input: bool | None = None


class SaeFacets(Wire):
    """The values each filter can take, under all the other filters."""

    source: tuple[Choice, ...] = ()
    model: tuple[Choice, ...] = ()
    layer: tuple[Choice, ...] = ()
    architecture: tuple[Choice, ...] = ()
    format: tuple[Choice, ...] = ()


class SaeBrowserState(State):
    """The synced trait `state` of the browser: one page of cards, and how much there is besides."""

    cards: tuple[SaeCard, ...] = ()
    matching: int = 0  # SAEs that fit the query
    matching_bytes: int = 0  # the size of their files, on whichever page they are
    total: int = 0  # SAEs in the workspace
    page_size: int = 50
    query: SaeQuery = SaeQuery()
    facets: SaeFacets = SaeFacets()
    not_imported: NotImported = NotImported()
    selected: tuple[SelectedSae, ...] = ()  # in the order in which they were checked
    export_formats: tuple[Choice, ...] = ()
    below: Literal["", Below] = ""  # what stands below, in place of the list
    deleted: tuple[Deleted, ...] = ()  # SAEs whose deletion can be undone
    revealed: str | None = None  # the SAE that was asked for elsewhere: its details are to be open


class UploadFile(Wire):
    """One file of an upload: its name, with ``/`` between the parts of a folder, and its size in bytes."""

    name: str
    size: Index


class SaeFact(Wire):
    """One line of what is known of an SAE."""

    label: str
    value: str
    code: bool = False  # an identifier: monospace


class Snippet(Wire):
    """Code that loads an SAE with one package."""

    label: str
    code: str


class SaeDetails(Wire):
    """What the drawer shows without reading weights."""

    facts: tuple[SaeFact, ...] = ()
    settings: tuple[Setting, ...] = ()  # the configuration, flattened to dotted names; at most 400 lines
    problem: Note | None = None  # why the configuration cannot be read; `settings` is what the library knows
    snippets: tuple[Snippet, ...] = ()
    name: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()


class Histogram(Wire):
    """Counts between edges (one edge more than counts), with the sentence that says the same."""

    title: str
    note: str = ""  # "mean 1.000, 0.94 to 1.06"
    x_label: str = ""
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    log: bool = False  # the x axis
    digits: int = 3  # significant ones of a value on the x axis
    zeros: int = 0  # how many are exactly 0, left of a logarithmic axis
    zeros_label: str = ""
    summary: str = ""


class SaeStatistics(Wire):
    """What its weights (and an extraction, if there is one) say."""

    histograms: tuple[Histogram, ...] = ()
    facts: tuple[SaeFact, ...] = ()


class SaeComparison(Wire):
    """Two SAEs side by side."""

    first: SelectedSae
    second: SelectedSae
    facts: tuple[SaeFact, ...] = ()  # "mean max cosine", …
    histogram: Histogram | None = None  # for each latent of the first: its largest cosine with one of the second
    matches: tuple[LatentMatch, ...] = ()
    differences: tuple[tuple[str, str, str], ...] = ()  # label, first, second


class CardPreview(Wire):
    """Before an SAE is published: its model card, who would publish it, and whether the repository exists."""

    card: str
    account: str | None = None  # None: nobody is signed in, or the hub does not say
    exists: bool = False
    asks_base: bool = False  # the SAE's model is a folder here, and its id on the hub is not given


class TrainingFacts(Wire):
    """The training that an SAE came from."""

    name: str
    status: str
    facts: tuple[SaeFact, ...] = ()
    settings: tuple[Setting, ...] = ()
