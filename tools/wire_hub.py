"""Golden examples of the messages of the download widget, for `make_wire.py`."""

from __future__ import annotations

from pydantic import SecretStr

from saewidgets.widgets.messages import hub as h
from saewidgets.widgets.messages import wire as w

REVISION = "9ac1b27d0c3c0f6f4b0a1e2d3c4b5a6978877665"
SAE = h.Chosen(repo_id="EleutherAI/sae-pythia-410m-65k", revision=REVISION, path="layers.6")
NOTE = w.Note(
    what="Lost the connection 3 times at 96 of 151 MB.", where="sae.safetensors", hint="What arrived is kept."
)
CARD = h.DownloadCard(
    id="job_01J8", name="EleutherAI/sae-pythia-410m-65k / layers.6", status="running", repo_id=SAE.repo_id,
    path=SAE.path, revision=REVISION, bytes_done=365_000_000, bytes_total=537_000_000, fraction=0.68,
    rate=41_200_000.0, eta_seconds=4.2, phase="downloading", attempt=2, wait_seconds=8.0, queue_position=1,
    sae_id="sae_1", note=NOTE,
    created_at=1_790_000_000.0, finished_at=1_790_000_013.0,
)
ROW = h.VariantRow(
    repo=0, path="layers.6", format="sparsify", size_bytes=537_000_000, site="resid_post", layer=6, width="65k",
    d_sae=65_536, l0=32.0, canonical=True, cached=True,
)

DEVICE = w.DeviceInfo(id="cuda:0", label="cuda:0 (8.0 GB)", total_bytes=8_000_000_000, free_bytes=6_100_000_000)

EXAMPLES: tuple[w.Wire, ...] = (
    h.HubState(
        revision=7, repository=SAE.repo_id, downloads=(CARD,), known=14, has_token=True, account="ada", can_open=True,
        notice=NOTE,
        devices=(DEVICE,),
        updated_at=1_790_000_131.0,
    ),
    h.HubKnown(id="c-1"),
    h.HubToken(id="c-2", token=SecretStr("hf_example")),  # written as asterisks, as everywhere
    h.HubList(id="c-3", text=f"{SAE.repo_id}@main", release="google/gemma-2-2b", again=True, asker="a1"),
    h.HubRows(id="c-4", listing=3, offset=2000, limit=h.PAGE),
    h.HubPreview(id="c-5", sae=SAE, device="cuda:0", again=True, asker="a1"),
    h.HubDownload(id="c-6", saes=(SAE,), apply_b_dec_to_input=True),
    h.HubAction(id="c-7", action="pause", job_ids=(CARD.id,)),
    h.HubOpen(id="c-8", sae_id="sae_1"),
    h.HubKnownData(
        repositories=(
            h.KnownRow(
                repo_id="google/gemma-scope-2b-pt-res", name="Gemma Scope 2B, residual", model="google/gemma-2-2b",
                sites=("resid_post",), layers="0–25", widths=("16k", "65k"), format="gemma_scope", gated_model=True,
            ),
        ),
        releases=(
            h.Release(
                id="google/gemma-2-2b", label="Gemma 2 2B, pretrained", model="google/gemma-2-2b",
                repo_ids=("google/gemma-scope-2b-pt-res",),
            ),
        ),
    ),
    h.HubListing(
        listing=3, text=SAE.repo_id, release="google/gemma-2-2b", total=1, rows=(ROW,), path="layers.6",
        repositories=(
            h.RepoData(
                repo_id=SAE.repo_id, revision=REVISION, license="mit", base_models=("EleutherAI/pythia-410m",),
                last_modified=1_742_000_000.0, url="https://huggingface.co/EleutherAI/sae-pythia-410m-65k",
            ),
        ),
        problems=(
            h.Problem(
                kind="no_sae", what="No SAE found in openai-community/gpt2.", hint="It holds a language model.",
                suggestions=("jbloom/GPT2-Small-SAEs-Reformatted",),
            ),
        ),
    ),
    h.HubRowsData(listing=3, offset=2000, rows=(ROW,)),
    h.HubPreviewData(
        sae=SAE, device="cuda:0", format="sparsify", architecture="TopK k 32", d_in=1024, d_sae=65_536, d_out=1024,
        dtype="bfloat16", model="EleutherAI/pythia-410m", hook_name="blocks.6.hook_resid_post", layer=6,
        total_bytes=537_000_000, download_bytes=537_000_000, memory_bytes=537_000_000, gpu_bytes=269_000_000,
        disk_free_bytes=41_000_000_000, gated_model=True, config={"k": 32},
        warnings=(h.WarningData(kind="gated_model", what="google/gemma-2-2b is gated.", hint="The files are open."),),
    ),
)  # fmt: skip
