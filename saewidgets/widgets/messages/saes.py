"""Messages and state of the SAE browser; see `wire.py` for the channels and the base classes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from saewidgets.widgets.messages.wire import Command, Note, Setting, Wire

Source = Literal["trained", "huggingface", "gemma_scope", "local"]
Layer = Annotated[int, Field(ge=0, lt=2**31)]
SaeSort = Literal["newest", "oldest", "name", "model", "layer", "d_sae", "size"]


# ---------------------------------------------------------------------------------------------------- state


class SaeCard(Wire):
    """One SAE as the list shows it."""

    id: str
    name: str
    source: str  # "trained", "huggingface", "gemma_scope", "local"
    source_label: str  # "Gemma Scope"
    canonical: bool = False
    model: str | None = None
    layer: int | None = None
    hook_name: str | None = None
    site: str = ""  # the hook point in words: "residual", "MLP output"
    architecture: str  # ready to show: "TopK, k 32"
    d_in: int
    d_sae: int
    d_out: int | None = None  # only where it is not d_in
    format: str
    format_label: str  # "SAELens"
    features_extracted: int = 0
    size_bytes: int
    created_at: float
    training_id: str | None = None
    training_name: str | None = None
    fvu: float | None = None
    fvu_label: str = "FVU"  # and of which tokens: "FVU (held out)", "FVU (training)"
    ce_loss_score: float | None = None
    tags: tuple[str, ...] = ()
    state: Literal["ok", "missing", "changed"] = "ok"
    state_note: str = ""


class SelectedSae(Wire):
    """A checked SAE, also where its card is on another page: what a question about it has to name."""

    id: str
    name: str
    size_bytes: int
    d_in: int
    d_sae: int
    features_extracted: int = 0
    training_id: str | None = None


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
    search: str = ""
    sort: SaeSort = "newest"
    offset: int = 0


class SaeFacets(Wire):
    """The values each filter can take, under all the other filters."""

    source: tuple[Choice, ...] = ()
    model: tuple[Choice, ...] = ()
    layer: tuple[Choice, ...] = ()
    architecture: tuple[Choice, ...] = ()
    format: tuple[Choice, ...] = ()


class SaeBrowserState(Wire):
    """The synced trait `state` of the browser: one page of cards, and how much there is besides."""

    revision: int = 0
    workspace: str = "default workspace"
    cards: tuple[SaeCard, ...] = ()
    matching: int = 0  # SAEs that fit the query
    matching_bytes: int = 0  # the size of their files, on whichever page they are
    total: int = 0  # SAEs in the workspace
    page_size: int = 50
    query: SaeQuery = SaeQuery()
    facets: SaeFacets = SaeFacets()
    selected: tuple[SelectedSae, ...] = ()  # in the order in which they were checked
    export_formats: tuple[Choice, ...] = ()
    download_shown: bool = False
    extractions_shown: bool = False  # the extraction viewer stands below, in place of the list
    steering_shown: bool = False  # the steering widget does
    revealed: str | None = None  # the SAE that was asked for elsewhere: its details are to be open
    notice: Note | None = None
    updated_at: float = 0.0


# ---------------------------------------------------------------------------------------------------- page → Python


class BrowseSaes(Command):
    """Show other SAEs; answered with null, the page of cards comes as state.

    Only the fields that are sent change, so that two views cannot undo each other's changes. Any change but one of
    `offset` goes back to the first page.
    """

    kind: Literal["browse_saes"] = "browse_saes"
    source: Source | None = None
    model: str | None = None
    layer: Layer | None = None
    architecture: str | None = None
    format: str | None = None
    search: str = Field(default="", max_length=500)
    sort: SaeSort = "newest"
    offset: int = Field(default=0, ge=0)


class SelectSaes(Command):
    """Check exactly these; answered with null."""

    kind: Literal["select_saes"] = "select_saes"
    sae_ids: tuple[str, ...]


class DescribeSae(Command):
    """Answered with `SaeDetails`: what is known without reading weights."""

    kind: Literal["describe_sae"] = "describe_sae"
    sae_id: str


class MeasureSae(Command):
    """Answered with `SaeStatistics`; the first time that reads the weights."""

    kind: Literal["measure_sae"] = "measure_sae"
    sae_id: str


class EditSae(Command):
    """Answered with `{"sae_id"}`. None leaves a field as it is."""

    kind: Literal["edit_sae"] = "edit_sae"
    sae_id: str
    name: str | None = Field(default=None, max_length=300)
    notes: str | None = Field(default=None, max_length=20_000)
    tags: tuple[str, ...] | None = Field(default=None, max_length=100)


class LocateSae(Command):
    """Its files are at `path` now; answered with `{"sae_id"}`."""

    kind: Literal["locate_sae"] = "locate_sae"
    sae_id: str
    path: str


class ExportSaes(Command):
    """Write SAEs to disk; answered with `SaesDone`. One goes to `folder` itself, several to sub-folders of it."""

    kind: Literal["export_saes"] = "export_saes"
    sae_ids: tuple[str, ...]
    folder: str
    format: str = "saelens"


class DeleteSaes(Command):
    """Answered with `SaesDone`."""

    kind: Literal["delete_saes"] = "delete_saes"
    sae_ids: tuple[str, ...]


class CompareSaes(Command):
    """Answered with `SaeComparison`."""

    kind: Literal["compare_saes"] = "compare_saes"
    first: str
    second: str


class ShowTraining(Command):
    """Answered with `TrainingFacts`."""

    kind: Literal["show_training"] = "show_training"
    training_id: str


class AddLocal(Command):
    """Copy an SAE from the kernel's machine into the library; answered with `{"sae_id"}`."""

    kind: Literal["add_local"] = "add_local"
    path: str
    name: str | None = None
    model: str | None = None
    hook_name: str | None = None
    apply_b_dec_to_input: bool | None = None  # where the files leave it open


class UploadFile(Wire):
    """One file of an upload: its name, with ``/`` between the parts of a folder, and its size in bytes."""

    name: str
    size: int


class BeginUpload(Command):
    """Answered with `{"upload_id", "chunk_bytes"}`; the page then sends every file in pieces of that size."""

    kind: Literal["begin_upload"] = "begin_upload"
    files: tuple[UploadFile, ...]


class UploadChunk(Command):
    """The next piece of a file, as a binary buffer; answered with `{"received"}` (bytes of the whole upload)."""

    buffers: ClassVar[int] = 1

    kind: Literal["upload_chunk"] = "upload_chunk"
    upload_id: str
    file: int
    offset: int


class FinishUpload(Command):
    """All is sent: check it, convert it, take it in; answered with `{"sae_id"}`. Too few bytes are an error."""

    kind: Literal["finish_upload"] = "finish_upload"
    upload_id: str
    name: str | None = None
    model: str | None = None
    hook_name: str | None = None
    apply_b_dec_to_input: bool | None = None  # where the files leave it open


class CancelUpload(Command):
    """Throw away what arrived; answered with null."""

    kind: Literal["cancel_upload"] = "cancel_upload"
    upload_id: str


class ShowDownload(Command):
    """Open or close *Download from Hugging Face* below the browser; answered with null."""

    kind: Literal["show_download"] = "show_download"
    shown: bool


class ShowExtractions(Command):
    """Open or close the extraction viewer below the browser; answered with null.

    With `sae_id` its dialog *Start extraction* opens with that SAE chosen (*Extract* on a card).
    """

    kind: Literal["show_extractions"] = "show_extractions"
    shown: bool
    sae_id: str | None = None


class ShowSteering(Command):
    """Open or close the steering widget below the browser; answered with null.

    With `sae_id` features are looked up in that SAE (*Steering* on a card).
    """

    kind: Literal["show_steering"] = "show_steering"
    shown: bool
    sae_id: str | None = None


# ---------------------------------------------------------------------------------------------------- Python → page


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

    sae_id: str
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

    sae_id: str
    histograms: tuple[Histogram, ...] = ()
    facts: tuple[SaeFact, ...] = ()


class SaeMatch(Wire):
    """Two latents with similar decoder directions."""

    first: int
    second: int
    cosine: float


class SaeComparison(Wire):
    """Two SAEs side by side."""

    first: SelectedSae
    second: SelectedSae
    facts: tuple[SaeFact, ...] = ()  # "mean max cosine", …
    histogram: Histogram | None = None  # for each latent of the first: its largest cosine with one of the second
    matches: tuple[SaeMatch, ...] = ()
    differences: tuple[tuple[str, str, str], ...] = ()  # label, first, second


class SaesDone(Wire):
    """What came of something done to several SAEs."""

    done: tuple[str, ...] = ()  # ids
    paths: tuple[str, ...] = ()  # what was written, in the same order
    problems: tuple[Note, ...] = ()  # `where` is the name of the SAE


class TrainingFacts(Wire):
    """The training that an SAE came from."""

    training_id: str
    name: str
    status: str
    facts: tuple[SaeFact, ...] = ()
    settings: tuple[Setting, ...] = ()
