"""Defines `BrowserModel`, the state of an SAE browser, and turns records into cards, tables and histograms.

Configurations and names come from files of others: everything is cut to a length, and nothing is followed.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from saewidgets.config.names import shown_model
from saewidgets.errors import NotFoundError
from saewidgets.records import Comparison, SAERecord, TrainingRecord
from saewidgets.render.labels import ARCHITECTURES, FORMATS, SOURCES, WRITTEN_FORMATS, name_of, sae_label, site_label
from saewidgets.render.numbers import MINUS, duration, metric, size, tokens
from saewidgets.widgets.messages import saes as messages
from saewidgets.widgets.messages.wire import Setting
from saewidgets.widgets.model import Model, deleted_of
from saewidgets.widgets.values import NAME_LENGTH, finite, settings_of, shorten
from saewidgets.workspace import Workspace
from saewidgets.workspace.folders import files_note

CONFIG_ROWS = 400
NAMED = 20  # trainings that are not in the library


def number_in(values: Any, *names: str) -> float | None:
    """The first finite number under one of `names`; None if there is none."""
    for name in names:
        value = values.get(name) if isinstance(values, Mapping) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


FVU_HELD_OUT, FVU_TRAINING = "FVU (held out)", "FVU (training)"


def measured(record: SAERecord, name: str) -> tuple[float | None, str]:
    """A metric from its training (the last evaluation, else the last step), or as its files publish it; and what an
    FVU from there is called: one training has one of its last step and one of held-out text."""
    latest = record.metadata.get("latest")
    places = (
        (latest, f"val_{name}", FVU_HELD_OUT), (latest, name, FVU_TRAINING), (record.metadata, name, "FVU"),
    )  # fmt: skip
    for values, key, label in places:
        found = number_in(values, key)
        if found is not None:
            return found, label
    return None, "FVU"


def architecture_words(record: SAERecord) -> str:
    """ "TopK, k 32" or "JumpReLU, L0 82", as far as its metadata say."""
    metadata = record.metadata
    config = metadata.get("config")
    trained = config.get("sae") if isinstance(config, Mapping) else None
    k = number_in(metadata.get("settings"), "k") or number_in(trained, "k") or number_in(metadata, "k")
    l0, _ = measured(record, "l0")
    keeps_k = "top" in record.architecture or "group" in record.architecture
    return sae_label(record.architecture, int(k) if k and keeps_k else None, round(l0, 1) if l0 is not None else None)


def card_of(record: SAERecord, *, has_files: bool = True) -> messages.SaeCard:
    """One SAE as the list shows it."""
    fvu, fvu_label = measured(record, "fvu")
    return messages.SaeCard.of(
        record,
        name=shorten(record.name, NAME_LENGTH),
        source_label=name_of(SOURCES, record.source),
        canonical=bool(record.metadata.get("canonical")),
        model=shorten(shown_model(record.model), NAME_LENGTH) if record.model else None,
        hook_name=shorten(record.hook_name, NAME_LENGTH) if record.hook_name else None,
        site=shorten(site_label(record.hook_name), 120),
        architecture=shorten(architecture_words(record), 120),
        d_out=record.d_out if record.d_out != record.d_in else None,
        format_label=shorten(name_of(FORMATS, record.format), 120),
        fvu=fvu,
        fvu_label=fvu_label,
        ce_loss_score=measured(record, "ce_loss_score")[0],
        tags=tuple(shorten(tag, 60) for tag in record.tags[:20]),
        has_files=has_files,
    )


def not_imported(workspace: Workspace) -> messages.NotImported:
    """Completed trainings that are not in the library, the newest by name."""
    found = workspace.trainings.not_imported()
    runs = tuple((i, shorten(name, NAME_LENGTH)) for i, name in islice(found.items(), NAMED))
    return messages.NotImported(total=len(found), runs=runs)


def selected_of(record: SAERecord) -> messages.SelectedSae:
    """What a question about it names."""
    return messages.SelectedSae.of(record, name=shorten(record.name, NAME_LENGTH))


def facets_of(facets: Mapping[str, Mapping[Any, int]], query: messages.SaeQuery | None = None) -> messages.SaeFacets:
    """The values of each filter with their counts; what `query` has chosen stays among them, with a count of 0."""
    names = {"source": SOURCES, "architecture": ARCHITECTURES, "format": FORMATS}

    def choices(facet: str) -> tuple[messages.Choice, ...]:
        found = {str(value): count for value, count in facets.get(facet, {}).items() if value not in (None, "")}
        chosen = getattr(query, facet, None)
        if chosen is not None:
            found.setdefault(str(chosen), 0)
        label = (lambda text: name_of(names[facet], text)) if facet in names else str
        return tuple(messages.Choice(value=each, label=shorten(label(each), 120), count=n) for each, n in found.items())

    return messages.SaeFacets(**{facet: choices(facet) for facet in messages.SaeFacets.model_fields})


# ------------------------------------------------------------------------------------------------ the drawer


def facts_of(record: SAERecord) -> tuple[messages.SaeFact, ...]:
    """What is known of it without its weights."""
    origin = {"huggingface": "from Hugging Face", "gemma_scope": "from Hugging Face", "trained": "by training"}
    added = time.strftime("%d %b %Y", time.localtime(record.created_at)).lstrip("0")
    rows: list[tuple[str, str | None, bool]] = [
        ("Size", f"{size(record.size_bytes)} on disk" + (f", {record.dtype}" if record.dtype else ""), False),
        ("Added", f"{added} {origin.get(record.source, 'from files')}", False),
        ("Trained by", record.training_name, False),
        ("Repository", record.repo_id, True),
        ("Variant", record.repo_path or None, True),
        ("Revision", record.revision[:12] if record.revision else None, True),
        ("Base model", record.model, False),
        ("Hook name", record.hook_name, True),
        ("Format", name_of(FORMATS, record.format), False),
        ("ID", record.id, True),
        ("Folder", record.path, True),
    ]
    facts = ((label, shorten(value, 500), code) for label, value, code in rows if value)
    return tuple(messages.SaeFact(label=label, value=value, code=code) for label, value, code in facts)


def known_settings(record: SAERecord) -> dict[str, Any]:
    """What the library knows of an SAE whose files cannot be read."""
    found = {"architecture": record.architecture, "d_in": record.d_in, "d_sae": record.d_sae, "d_out": record.d_out}
    settings = record.metadata.get("settings")
    return {**found, **(settings if isinstance(settings, Mapping) else {})}


def config_rows(config: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The configuration flattened to dotted names, in its own order: at most `CONFIG_ROWS` lines."""
    rows = settings_of(config)
    rest = (Setting(name="…", value="The rest is not shown."),) if len(rows) > CONFIG_ROWS else ()
    return (*rows[:CONFIG_ROWS], *rest)


# name in `ws.saes.statistics`: title, label of the x axis, what is counted, significant digits of its values
_HISTOGRAMS = {
    "decoder_norms": ("Decoder norms", "‖W_dec row‖", "latents by the norm of their decoder row", 3),
    "encoder_norms": ("Encoder norms", "‖W_enc column‖", "latents by the norm of their encoder column", 3),
    "threshold": ("Thresholds", "threshold", "latents by their threshold", 3),
    "density": ("Feature density", "share of tokens", "latents by the share of tokens on which they fire", 2),
}


def histograms_of(statistics: Mapping[str, Any]) -> tuple[messages.Histogram, ...]:
    """The histograms there are, in the order in which they are shown."""
    return tuple(
        found
        for name, words in _HISTOGRAMS.items()
        if (found := histogram_of(statistics.get(name), *words)) is not None
    )


def histogram_of(data: Any, title: str, x_label: str, what: str, digits: int = 3) -> messages.Histogram | None:
    """One histogram of `ws.saes.statistics`; None if there is none, or it is broken."""
    if not isinstance(data, Mapping):
        return None
    edges = [float(edge) for edge in data.get("edges") or ()]
    counts = [int(count) for count in data.get("counts") or ()]
    if len(edges) != len(counts) + 1 or not counts or not all(math.isfinite(edge) for edge in edges):
        return None
    zeros = int(number_in(data, "zeros") or 0)

    def words(value: float | None) -> str:
        return short(value, digits)

    low, high = number_in(data, "min"), number_in(data, "max")
    known = low is not None and high is not None
    constant = known and sum(counts) > 1 and words(low) == words(high)
    span = f"{words(low)} to {words(high)}" if known and not constant else ""
    note = [
        f"{name} {words(value)}"
        for name in ("mean", "sd")
        if (value := number_in(data, name)) is not None and not (constant and (name == "mean" or value == 0))
    ]
    if constant:
        note.insert(0, f"all {words(low)}")
    peak = max(range(len(counts)), key=counts.__getitem__)
    between = (words(edges[peak]), words(edges[peak + 1]))
    summary = f"{title}: {sum(counts) + zeros:,} {what}"
    summary += f", from {span}" if span else ""
    summary += f", {' and '.join(note)}" if note else ""
    summary += f". Most are between {between[0]} and {between[1]}." if sum(counts) and between[0] != between[1] else "."
    summary += f" {zeros:,} are 0." if zeros else ""
    return messages.Histogram(
        title=title,
        note=", ".join([*note, span] if span else note),
        x_label=x_label,
        edges=tuple(edges),
        counts=tuple(counts),
        log=_is_logarithmic(edges),
        digits=digits,
        zeros=zeros,
        zeros_label="never" if title == "Feature density" else "0",
        summary=summary,
    )


def _is_logarithmic(edges: Sequence[float]) -> bool:
    """Bins of equal width on a logarithmic axis, and not on a linear one."""
    if len(edges) < 3 or edges[0] <= 0:
        return False
    grows = math.isclose(edges[1] / edges[0], edges[-1] / edges[-2], rel_tol=0.05)
    return grows and not math.isclose(edges[1] - edges[0], edges[-1] - edges[-2], rel_tol=0.05)


def short(value: float | None, digits: int = 3) -> str:
    """Three significant digits (or `digits`): 1.00, 0.0210, 1,234, 3.2e-5."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value < 0:
        return MINUS + short(-value, digits)
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:#.{digits}g}".rstrip(".") if abs(value) < 99.95 else f"{value:,.0f}"


def measured_facts(record: SAERecord, statistics: Mapping[str, Any]) -> tuple[messages.SaeFact, ...]:
    """Single numbers of the statistics."""
    rows: list[tuple[str, str | None]] = []
    if record.features_extracted:
        rows.append(("Features extracted", f"{record.features_extracted:,} of {record.d_sae:,}"))
    dead, dense = number_in(statistics, "dead"), number_in(statistics.get("density"), "dense")
    if dead is not None:
        words = f"{dead:,.0f} ({100 * dead / record.d_sae:.1f} %)"
        both = dense is not None
        rows.append(("Dead / dense", f"{words} / {dense:,.0f} above 10 %") if both else ("Dead", words))
    l0 = number_in(statistics, "l0")
    if l0 is not None:
        rows.append(("L0", f"{l0:.1f} active per token"))
    for name, label in (("fvu", "FVU"), ("ce_loss_score", "CE recovered")):
        value = number_in(statistics.get("measured"), name)
        if value is not None:
            rows.append((measured(record, "fvu")[1] if name == "fvu" else label, metric(name, value)))
    b_dec = number_in(statistics, "b_dec_norm")
    if b_dec is not None:
        rows.append(("Norm of b_dec", short(b_dec)))
    return tuple(messages.SaeFact(label=label, value=value) for label, value in rows if value)


# ------------------------------------------------------------------------------------------------ comparison


def comparison_of(first: SAERecord, second: SAERecord, found: Comparison) -> messages.SaeComparison:
    """What `ws.saes.compare` found, and in what the two records differ."""
    facts = [
        messages.SaeFact(label="Mean max cosine", value=f"{found.mean_max_cosine:.3f}"),
        messages.SaeFact(label="The other way round", value=f"{found.mean_max_cosine_back:.3f}"),
    ]
    for share, label in ((0.9, "Latents with a match ≥ 0.9"), (0.7, "Latents with a match ≥ 0.7")):
        facts.append(messages.SaeFact(label=label, value=f"{found.above[share]:,} of {first.d_sae:,}"))
    words = ("Largest cosine", "cosine with the nearest latent of the other", "latents by their largest cosine")
    return messages.SaeComparison(
        first=selected_of(first),
        second=selected_of(second),
        facts=tuple(facts),
        histogram=histogram_of(found.histogram, *words),
        matches=found.matches,
        differences=_differences(first, second),
    )


def _differences(first: SAERecord, second: SAERecord) -> tuple[tuple[str, str, str], ...]:
    def rows(record: SAERecord) -> dict[str, str]:
        return {
            "Model": record.model or "–",
            "Hook name": record.hook_name or "–",
            "Architecture": architecture_words(record),
            "d_sae": f"{record.d_sae:,}",
            "d_in": f"{record.d_in:,}",
            "Number format": record.dtype or "–",
            "Source": name_of(SOURCES, record.source),
            "Format": name_of(FORMATS, record.format),
            "Size": size(record.size_bytes),
        }

    one, other = rows(first), rows(second)
    return tuple(
        (label, shorten(one[label], 200), shorten(other[label], 200)) for label in one if one[label] != other[label]
    )


def training_facts(record: TrainingRecord) -> messages.TrainingFacts:
    """The training that an SAE came from."""
    latest = record.latest
    rows = [
        ("Model", record.model),
        ("Dataset", record.corpus),
        ("Hook name", record.hook_name),
        ("Tokens", f"{tokens(record.tokens_done)} of {tokens(record.tokens_total)}"),
        ("Time", duration(record.seconds_running) if record.seconds_running else ""),
        *((label, _measured(latest, name, sample)) for name, label, sample in (
            ("loss", "Loss", None), ("val_l0", "L0 (held out)", "val_tokens"), ("l0", "L0 (training)", None),
            ("val_fvu", FVU_HELD_OUT, "val_tokens"), ("fvu", FVU_TRAINING, None),
            ("ce_loss_score", "CE recovered", "ce_tokens"),
        ) if latest.get(name) is not None),
    ]  # fmt: skip
    return messages.TrainingFacts(
        name=shorten(record.name, NAME_LENGTH),
        status=record.status.value,
        facts=tuple(messages.SaeFact(label=label, value=shorten(str(value), 300)) for label, value in rows if value),
        settings=config_rows(record.config),
    )


def _measured(latest: Mapping[str, Any], name: str, sample: str | None) -> str:
    """The newest value of a metric, with the number of tokens that it is measured on where that is recorded."""
    number = latest.get(sample) if sample is not None else None
    return metric(name, finite(latest.get(name))) + (f" ({number:,.0f} tokens)" if number else "")


PAGE = 50  # cards; a page of them is some 30 kB of state
_FILTERS = ("source", "model", "layer", "architecture", "format", "search")


class BrowserModel(Model[messages.SaeBrowserState]):
    """The state of one browser over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        formats = tuple(messages.Choice(value=name, label=name_of(FORMATS, name)) for name in WRITTEN_FORMATS)
        super().__init__(workspace, messages.SaeBrowserState(page_size=PAGE, export_formats=formats))

    # --------------------------------------------------------------------------------------------- input

    def browse(self, changes: Mapping[str, Any]) -> None:
        """Show other SAEs. Any change but one of `offset` goes back to the first page."""
        first = {"offset": 0} if set(changes) - {"offset"} else {}
        with self._lock:
            self._ask(self._state.query.model_copy(update={**first, **changes}))
            self._put({"revealed": None})

    def _ask(self, query: messages.SaeQuery) -> None:
        self._put({"query": query})
        self._changed = True

    @property
    def selected(self) -> tuple[str, ...]:
        return tuple(sae.id for sae in self._state.selected)

    def select(self, sae_ids: Iterable[str]) -> None:
        """Check exactly these; what does not exist (any more) is left out."""
        known = {sae.id: sae for sae in self._state.selected}
        found = (known.get(sae_id) or self.look_up(sae_id) for sae_id in dict.fromkeys(sae_ids))
        chosen = tuple(sae for sae in found if sae is not None)
        with self._lock:
            self._put({"selected": chosen})

    def look_up(self, sae_id: str) -> messages.SelectedSae | None:
        try:
            return selected_of(self.workspace.saes.get(sae_id))
        except NotFoundError:
            return None

    def reveal(self, sae_id: str) -> None:
        """Show an SAE that was just added: without filters and newest first, unless it can be seen as it is."""
        self.mark_changed()
        self.read()
        with self._lock:
            if any(card.id == sae_id for card in self._state.cards):
                return
        offset = 0
        while page := self.workspace.saes.list(sort=messages.SaeQuery().sort, limit=PAGE, offset=offset):
            if any(record.id == sae_id for record in page):
                break
            offset += PAGE
        with self._lock:
            self._ask(messages.SaeQuery(offset=offset if page else 0))

    def show(self, sae_id: str) -> None:
        """Check it alone, bring it into view and open its details, in place of whatever is below the list."""
        self.select([sae_id])
        with self._lock:
            self.below = ""
            self._put({"revealed": sae_id})
        self.reveal(sae_id)

    def _read(self) -> None:
        query = self._state.query
        saes = self.workspace.saes
        filters = {name: value for name in _FILTERS if (value := getattr(query, name)) not in (None, "")}
        facets = saes.facets(**filters)
        matching, matching_bytes = saes.count(**filters)
        total = saes.count()[0] if filters else matching
        missing = not_imported(self.workspace)
        offset = min(query.offset, (max(0, matching - 1) // PAGE) * PAGE)
        deleted = self.workspace.deletions.pending()
        listed = saes.list(**filters, sort=query.sort, limit=PAGE, offset=offset)
        records = [record for record in listed if record.id not in deleted]
        hidden = deleted_of(deleted, saes=True)
        matching -= len(listed) - len(records)
        total -= len(hidden)
        shown = {record.id: record for record in records}
        chosen = [i for i in self.selected if i not in deleted]
        now = {i: selected_of(shown[i]) if i in shown else self.look_up(i) for i in chosen}
        now |= {i: None for i in self.selected if i in deleted}
        with self._lock:
            if self._state.query is query and offset != query.offset:  # the last page became empty
                self._put({"query": query.model_copy(update={"offset": offset})})
            cards = tuple(card_of(each, has_files=not files_note(self.workspace, each)) for each in records)
            checked = (now.get(sae.id, sae) for sae in self._state.selected)
            self._put(
                {
                    "selected": tuple(sae for sae in checked if sae is not None), "cards": cards,
                    "matching": matching, "matching_bytes": matching_bytes, "total": total,
                    "facets": facets_of(facets, query), "not_imported": missing, "deleted": hidden,
                }
            )  # fmt: skip

    def _shown(self) -> dict[str, Any]:
        return {"below": self.below}
