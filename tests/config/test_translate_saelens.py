"""SAELens' configurations: what each setting becomes, and that nothing is left out in silence; the cfg.json of an SAE;
and several SAEs, a group of the trainings that each would be alone."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import HubCorpus, TrainingConfig
from saewidgets.config.base import dotted
from saewidgets.config.group import base_of, expand
from saewidgets.config.translate import Translation, from_mistudio, from_saelens, saelens_config
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.training.export import metadata

GOLDEN = Path(__file__).parents[1] / "golden"
RUNNER = GOLDEN / "saelens_runs" / "topk.json"  # written by the package itself


def with_settings(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with some settings changed; dotted names reach inside."""
    for name, value in changes.items():
        target, path = data, name.split(".")
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value
    return data


def remarks(found: Translation, kind: str | None = None) -> dict[str, str]:
    """Setting → what was said of it; of one kind of remarks, or of all."""
    return {each.setting: each.text for each in found.remarks if kind in (None, each.kind)}


def _runner(**changes):
    """The recorded configuration with some settings changed; dotted names reach inside."""
    return with_settings(json.loads(RUNNER.read_text()), changes)


def _sae(architecture, **settings):
    return {"architecture": architecture, "d_in": 12, "d_sae": 64, **settings}


@pytest.mark.parametrize("name", ["standard", "gated", "topk", "matryoshka"])
def test_every_setting_of_a_real_configuration_is_accounted_for(name):
    found = from_saelens(GOLDEN / "saelens_runs" / f"{name}.json")
    assert [text for text in remarks(found).values() if "not known" in text] == []
    assert remarks(found, "lost") == {}
    assert found.config.sae.architecture == name
    assert found.source == "SAELens"
    assert json.loads(json.dumps(found.to_data()))["config"] == found.config.to_data()


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        ({"train_batch_size_tokens": 4096, "training_tokens": 4_096_000},
         {"activations.norm_tokens": 4_096_000, "batch_size": 4096, "dead_window_tokens": 40_964_096,
          "tokens": 4_096_000},
         ""),
        ({"training_tokens": 1000, "train_batch_size_tokens": 300},
         {"activations.norm_tokens": 300_000, "batch_size": 300, "dead_window_tokens": 3_000_300, "tokens": 1200},
         "changed training_tokens"),
        ({"context_size": 256, "store_batch_size_prompts": 16, "n_batches_in_buffer": 32},
         {"activations.model_batch_size": 16, "activations.shuffle_tokens": 131_072, "context_size": 256}, ""),
        ({"dead_feature_window": 500}, {"dead_window_tokens": 12_024}, ""),
        ({"n_batches_for_norm_estimate": 100}, {"activations.norm_tokens": 2400}, ""),
        ({"n_eval_batches": 4, "eval_batch_size_prompts": 8}, {"evaluation.tokens": 4096}, ""),
        ({"n_eval_batches": 0}, {"evaluation.tokens": 256}, "changed n_eval_batches"),
        ({"n_checkpoints": 3}, {"checkpoints.every_steps": 8, "checkpoints.keep_every": True}, ""),
        ({"adam_beta1": 0.5, "lr": 1e-3, "seed": 7}, {"optimizer.beta1": 0.5, "optimizer.lr": 1e-3, "seed": 7}, ""),
        ({"lr_end": 1e-4}, {"optimizer.lr_end": 1e-4}, ""),
        ({"exclude_special_tokens": True}, {"activations.exclude_special_tokens": True}, ""),
        ({"logger.wandb_log_frequency": 30, "logger.eval_every_n_wandb_logs": 20},
         {"evaluation.every_steps": 600, "log_every_steps": 30}, ""),
        ({"sae.aux_loss_coefficient": 0.25}, {"sae.aux_coefficient": 0.25}, ""),
        ({"sae.normalize_activations": "expected_average_only_in"},
         {"activations.normalize": "expected_average_only_in"}, ""),
        ({"sae.normalize_activations": "layer_norm"},
         {"activations.normalize": "layer_norm"}, "changed sae.normalize_activations"),
        ({"sae.normalize_activations": "odd"},
         {"activations.normalize": "expected_average_only_in"}, "lost sae.normalize_activations"),
        ({"sae.k": 4.5}, {}, "changed sae.k"),
        ({"sae.rescale_acts_by_decoder_norm": False}, {}, ""),
        ({"sae.new": 1}, {}, "lost sae.new"),
        ({"a_new_setting": 1}, {}, "lost a_new_setting"),
        ({"hook_head_index": 3}, {}, "lost hook_head_index"),
        ({"use_cached_activations": True}, {}, "lost use_cached_activations"),
        ({"resume_from_checkpoint": "ckpt/1000"}, {"from_pretrained": "ckpt/1000"}, "changed resume_from_checkpoint"),
        ({"from_pretrained_path": "some/sae"}, {"from_pretrained": "some/sae"}, ""),
        ({"autocast_lm": True}, {"model_dtype": "bfloat16"}, "changed autocast_lm"),
        ({"logger.log_to_wandb": True}, {}, "changed logger.log_to_wandb"),
        ({"model_kwargs": {"a": 1}}, {}, "lost model_kwargs"),
        ({"model_name": "gelu-2l"}, {"model": "gelu-2l"}, "changed model_name"),
        ({"dtype": "bfloat16"}, {}, "changed dtype"),
        ({"autocast": True}, {"precision": "bfloat16"}, ""),
        ({"sae.dtype": "torch.float16"}, {"precision": "float16"}, "changed sae.dtype"),
        ({"sae.dtype": "float16", "autocast": True}, {"precision": "bfloat16"}, "changed sae.dtype"),
        ({"model_from_pretrained_kwargs": {"torch_dtype": "torch.bfloat16", "revision": "step3000"}},
         {"model_dtype": "bfloat16", "model_revision": "step3000"}, ""),
        ({"model_from_pretrained_kwargs": {"dtype": "float16", "torch_dtype": None, "revision": None}},
         {"model_dtype": "float16"}, ""),
        ({"model_from_pretrained_kwargs": {"torch_dtype": "auto"}},
         {}, "lost model_from_pretrained_kwargs.torch_dtype"),
        ({"model_from_pretrained_kwargs": {"dtype": "float64", "revision": 3}},
         {}, "lost model_from_pretrained_kwargs.dtype lost model_from_pretrained_kwargs.revision"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": True, "n_devices": 2}},
         {}, "lost model_from_pretrained_kwargs.center_writing_weights lost model_from_pretrained_kwargs.n_devices"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": False, "trust_remote_code": True}},
         {}, "lost model_from_pretrained_kwargs.trust_remote_code"),
        ({"seqpos_slice": [5, -5]}, {"activations.seqpos_slice": "5:-5"}, ""),
        ({"exclude_special_tokens": [7, 3]}, {"activations.exclude_token_ids": [3, 7]}, ""),
        ({"disable_concat_sequences": True, "sequence_separator_token": 7},
         {"activations.join_documents": False, "activations.separator": "7"}, ""),
        ({"sequence_separator_token": None}, {"activations.separator": "none"}, ""),
        ({"is_dataset_tokenized": True},
         {"corpus.chat": None, "corpus.kind": "tokens", "corpus.path": None, "corpus.source": "Skylion007/openwebtext"},
         ""),
        ({"use_chat_formatting": True, "is_dataset_tokenized": False, "dataset_path": "lab/chats"},
         {"corpus.chat": True, "corpus.path": "lab/chats"}, ""),
        ({"hook_name": "transformer.h.3"}, {"hook_name": "blocks.3.hook_resid_post"}, ""),
        ({"hook_name": "model.layers.11.mlp"}, {"hook_name": "blocks.11.hook_mlp_out"}, ""),
        ({"hook_name": "gpt_neox.layers.0.attention"}, {"hook_name": "blocks.0.hook_attn_out"}, ""),
        ({"hook_name": "blocks.2.attn.hook_z", "hook_head_index": 11}, {"hook_name": "blocks.2.attn.hook_z.11"}, ""),
        ({"llm_device": "cpu", "act_store_device": "cpu", "prefetch_llm_batches": False}, {}, ""),
        ({"llm_device": "None", "act_store_device": "with_model"}, {}, ""),
        ({"llm_device": "cuda:1"}, {"model_device": "cuda:1"}, ""),
        ({"device": "cuda:1", "llm_device": "cuda:0", "act_store_device": "with_model", "prefetch_llm_batches": 4},
         {"activations.buffer_device": "cuda:0", "activations.read_ahead": "on", "device": "cuda:1",
          "model_device": "cuda:0"},
         ""),
        ({"device": "cuda", "llm_device": "cuda", "act_store_device": "cpu", "prefetch_llm_batches": True},
         {"activations.buffer_device": "cpu", "activations.read_ahead": "on", "device": "auto"}, ""),
        ({"compile_llm": True, "llm_compilation_mode": "max-autotune-no-cudagraphs"},
         {"model_compile": "max-autotune-no-cudagraphs"}, ""),
        ({"logger.run_name": "matryoshka_batchtopk-16384-LR-5e-05-Tokens-1.000e+09"}, {}, ""),
    ],
)  # fmt: skip
def test_what_becomes_of_each_setting(given, expected, said):
    """All that is another for it, and what is said of it besides: that it is lost, or changed."""
    before, found = from_saelens(RUNNER), from_saelens(_runner(**given))
    old, new = dict(dotted(before.config.to_data())), dict(dotted(found.config.to_data()))
    assert {name: new.get(name) for name in old.keys() | new.keys() if new.get(name) != old.get(name)} == expected
    known = {(each.kind, each.setting) for each in before.remarks}
    assert " ".join(sorted(f"{r.kind} {r.setting}" for r in found.remarks if (r.kind, r.setting) not in known)) == said


@pytest.mark.parametrize(("version", "learned"), [("6.47.1", "log"), ("6.48.0", "linear"), (None, "linear")])
def test_thresholds_are_learned_as_that_version_of_sae_lens_did(version, learned):
    runner = _runner(sae_lens_version=version, sae=_sae("jumprelu"))
    assert from_saelens(runner).config.sae.threshold_parameter == learned
    details = {"sae_lens_version": version, "hook_name": "blocks.0.hook_resid_post", "model_name": "gpt2"}
    cfg = {**_sae("jumprelu"), "metadata": {**details, "dataset_path": "lab/lines"}}
    assert from_saelens(cfg).config.sae.threshold_parameter == learned


def test_what_a_runner_means_by_itself():
    config = from_saelens(RUNNER).config
    assert (config.model, config.hook_name) == ("openai-community/gpt2", "blocks.6.hook_resid_pre")
    assert (config.corpus, config.name) == (HubCorpus("Skylion007/openwebtext"), None)  # SAELens named it itself
    optimizer = config.optimizer
    assert (optimizer.grad_clip, optimizer.lr_warm_up_steps, optimizer.lr_decay_steps) == (1.0, 5, 8)
    assert (optimizer.lr_schedule, optimizer.lr_end) == ("cosine", 1e-3)
    assert (config.sae.k, config.sae.decoder_init_norm, config.activations.separator) == (4, 0.1, "bos")
    assert from_saelens(_runner(lr=1e-3, lr_end=1e-4)).config.optimizer.lr_end is None  # a tenth of the peak is usual


@pytest.mark.parametrize(("changes", "tokens"), [({"tokens": 700}, 700), ({"batch_size": 50}, 1000)])
def test_tokens_that_are_given_are_not_rounded(changes, tokens):
    found = from_saelens(_runner(training_tokens=1000, train_batch_size_tokens=300), **changes)
    assert (found.config.tokens, "training_tokens" in remarks(found)) == (tokens, False)


@pytest.mark.parametrize(
    ("sae", "expected", "warm_up"),
    [
        (_sae("standard", l1_coefficient=3.0, lp_norm=0.5, l1_warm_up_steps=9),
         {"l1_coefficient": 3.0, "lp_norm": 0.5}, 9),
        (_sae("gated", l1_coefficient=2.0), {"l1_coefficient": 2.0}, 0),
        (_sae("batchtopk", k=7.0, topk_threshold_lr=0.02), {"k": 7, "threshold_momentum": 0.98}, None),
        (_sae("matryoshka_batchtopk", k=3, matryoshka_widths=[4, 16, 64], use_matryoshka_aux_loss=True),
         {"widths": (4, 16, 64), "aux_per_width": True}, None),
        (_sae("jumprelu", l0_coefficient=0.2, jumprelu_bandwidth=2.0, jumprelu_init_threshold=0.1, l0_warm_up_steps=5,
              jumprelu_sparsity_loss_mode="tanh", jumprelu_tanh_scale=3.0, pre_act_loss_coefficient=3e-6,
              jumprelu_ste_to_input=True),
         {"l0_coefficient": 0.2, "bandwidth": 2.0, "initial_threshold": 0.1, "sparsity_loss": "tanh",
          "tanh_scale": 3.0, "pre_act_coefficient": 3e-6, "ste_to_input": True}, 5),
        (_sae("jumprelu", jumprelu_sparsity_loss_mode="quadratic", target_l0=20), {"target_l0": 20}, 0),
    ],
)  # fmt: skip
def test_architectures(sae, expected, warm_up):
    found = from_saelens({**_runner(), "sae": sae})
    assert {name: pytest.approx(getattr(found.config.sae, name)) for name in expected} == expected
    assert found.config.optimizer.sparsity_warm_up_steps == warm_up
    assert remarks(found, "lost") == {}


def test_free_norms_but_for_rescaled_top_k():
    free = from_saelens({**_runner(), "sae": _sae("standard")}).config.optimizer
    assert (free.normalize_decoder_every, free.project_decoder_grad) == (None, False)
    rescaled = from_saelens({**_runner(), "sae": _sae("topk", k=4)})
    assert rescaled.config.optimizer.normalize_decoder_every == 1
    assert "rescale_acts_by_decoder_norm" in "".join(remarks(rescaled, "changed"))


def test_the_documentation_covers_every_setting():
    table = (GOLDEN.parents[1] / "docs" / "translation.md").read_text(encoding="utf-8")
    files = [path for path in (GOLDEN / "saelens_runs").glob("*.json") if path.stem != "schedules"]
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    settings = {name for run in runs for part in (run, run["sae"], run["logger"]) for name in part}
    quoted = inspect.getsource(saelens_config).split('"')
    settings |= {name for name in quoted if name.startswith(("jumprelu_", "pre_act_"))}
    settings |= set(json.loads((GOLDEN / "saelens_groups" / "mixed.json").read_text(encoding="utf-8"))["several"])
    missing = {name for name in settings - {"sae", "logger"} if f"`{name}`" not in table}
    assert missing == set()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"hook_name": "blocks.1.attn.hook_q"}, "hook_name"),
        ({"hook_name": "blocks.1.attn.hook_z", "hook_head_index": 1.5}, "hook_head_index"),
        ({"lr_scheduler_name": "magic"}, "lr_scheduler_name"),
        ({"sae.architecture": "temporal"}, "sae.architecture"), ({"training_tokens": "many"}, "training_tokens"),
        ({"lr": None, "adam_beta1": 2}, "optimizer.beta1"), ({"sae.d_sae": -3}, "sae.d_sae"), ({"saes": []}, "saes"),
        ({"logger": {"wandb_log_frequency": 1.5}}, "logger.wandb_log_frequency"), ({"sae.k": 100}, "sae.k"),
        ({"sae.dtype": "int8"}, "sae.dtype"), ({"model_name": ""}, "model_name"),
        ({"context_size": True}, "context_size"), ({"logger": "x"}, "logger"), ({"dataset_path": ""}, "dataset_path"),
        ({"model_from_pretrained_kwargs": "x"}, "model_from_pretrained_kwargs"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_names_its_setting(changes, where):
    with pytest.raises(ConfigError) as caught:
        from_saelens(_runner(**changes))
    assert caught.value.where == where


def test_values_of_another_kind_name_their_setting():
    wrong = {
        **dict.fromkeys(("prepend_bos", "prefetch_llm_batches", "exclude_special_tokens", "use_chat_formatting",
                         "sae.apply_b_dec_to_input", "logger.log_to_wandb", "activations_mixing_fraction",
                         "model_from_pretrained_kwargs.trust_remote_code"), "false"),
        "device": 3, "dtype": 32, "dataset_path": 5, "sequence_separator_token": 1.5, "from_pretrained_path": 1,
    }  # fmt: skip
    for setting, value in [*wrong.items(), ("activations_mixing_fraction", 1.5), ("prefetch_llm_batches", -1)]:
        with pytest.raises(ConfigError, match=f"is {value!r}, not ") as caught:
            from_saelens(_runner(compile_llm=True, **{setting: value}))
        assert caught.value.where == setting


def test_changes_win():
    found = from_saelens(_runner(dataset_path=""), tokens=10_000, corpus="notes.txt", **{"optimizer.lr": 2e-3})
    assert (found.config.tokens, found.config.corpus.files, found.config.optimizer.lr) == (10_000, ("notes.txt",), 2e-3)
    chats = from_saelens(_runner(use_chat_formatting=True), corpus="demo")
    assert "chat=True" in remarks(chats, "lost")["use_chat_formatting"]
    for wrong in ("tokens.x", "nothing"):
        with pytest.raises(ConfigError) as caught:
            from_saelens(RUNNER, **{wrong: 3})
        assert caught.value.where == wrong


def test_rejects_files_without_a_table_of_settings(tmp_path):
    contents = {
        **dict.fromkeys(("null", "3", "[1, 2]"), r"bad\.json: This is not a table of settings"),
        "{not json": "Not valid JSON", '{"a": 1}': "neither an `sae`", "\xff": "not UTF-8 text",
    }  # fmt: skip
    for content, said in contents.items():
        (tmp_path / "bad.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(ConfigError, match=said):
            from_saelens(tmp_path / "bad.json")
    for source in ([], None, 3, "", "~nobody-has-this-name/cfg.json"):
        for translate in (from_saelens, from_mistudio):
            with pytest.raises((ConfigError, NotFoundError)) as caught:
                translate(source)
            assert caught.value.where == "source"
    with pytest.raises(NotFoundError, match=r"missing\.json"):
        from_saelens(tmp_path / "missing.json")


def test_a_target_is_that_of_the_quadratic_penalty_alone():
    found = from_saelens({**_runner(), "sae": _sae("jumprelu", jumprelu_sparsity_loss_mode="step", target_l0=20)})
    assert found.config.sae.target_l0 is None


def test_a_cfg_says_which_positions_were_read():
    cfg = {"architecture": "topk", "d_in": 12, "d_sae": 64, "k": 2, "metadata": {
        "model_name": "gpt2", "hook_name": "blocks.1.hook_resid_post", "dataset_path": "owner/name",
        "exclude_special_tokens": False, "seqpos_slice": [5, None], "something": 1,
    }}  # fmt: skip
    found = from_saelens(cfg)
    assert found.config.activations.exclude_special_tokens is False
    assert list(found.config.activations.positions(8)) == [5, 6, 7]
    assert "not known" in remarks(found)["metadata.something"]


def test_the_configuration_of_a_saved_sae():
    path = GOLDEN / "saelens" / "batchtopk_exported" / "cfg.json"
    data = json.loads(path.read_text())
    data["metadata"].update(model_name="gpt2", hook_name="blocks.1.hook_resid_post", context_size=64)
    data["metadata"].update(training_architecture="batchtopk", training_architecture_details={"k": 5})
    found = from_saelens(data, corpus="demo")
    assert (found.config.sae.architecture, found.config.sae.k, found.config.context_size) == ("batchtopk", 5, 64)
    assert "does not record learning rate" in remarks(found, "lost")["metadata.lr"]
    assumed = remarks(found, "lost")["metadata.training_architecture_details"]
    assert assumed.endswith("decoder_init_norm 0.1, aux_loss_coefficient 1.0, rescale_acts_by_decoder_norm True, "
                            "topk_threshold_lr 0.01.")  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        from_saelens(data)
    assert caught.value.where == "metadata.dataset_path"


@pytest.mark.parametrize(
    ("sae", "normalize"),
    [
        ({"architecture": "standard", "l1_coefficient": 2.0, "p_end": 0.2}, "layer_norm"),
        ({"architecture": "matryoshka", "k": 4, "widths": [8, 16], "aux_coefficient": 0.5}, "constant_norm_rescale"),
        ({"architecture": "jumprelu", "sparsity_loss": "tanh", "bandwidth": 0.5}, "expected_average_only_in"),
        ({"architecture": "skip", "skip_scale": 0.25, "learn_skip": True}, "expected_average_only_in"),
        ({"architecture": "transcoder", "l1_coefficient": 3.0}, "expected_average_only_in"),
    ],
)
def test_what_this_package_wrote_beside_an_sae_comes_over_in_its_own_names(sae, normalize):
    out = {"hook_name_out": "blocks.1.hook_mlp_out"} if sae["architecture"] == "transcoder" else {}
    wanted = TrainingConfig(
        model="demo", hook_name="blocks.1.mlp.hook_in", sae={"d_sae": 64, **sae}, tokens=50_000, seed=3, **out,
        activations={"normalize": normalize, "seqpos_slice": "1:", "exclude_token_ids": [7]},
    )  # fmt: skip
    data = metadata(wanted, model_name="demo", model_class="LlamaForCausalLM", tokens=50_000, metrics={})
    found = from_saelens({"architecture": "jumprelu", "d_in": 256, "d_sae": 64, "metadata": data})
    assert found.config == wanted
    assert list(remarks(found)) == ["metadata.lr"]


def test_settings_of_the_loss_missing_in_a_cfg_are_remarked():
    plain = json.loads((GOLDEN / "saelens" / "standard" / "cfg.json").read_text())
    found = from_saelens(plain, corpus="demo")
    assert found.config.sae.l1_coefficient == 1.0  # SAELens' default
    assumed = remarks(found, "lost")["metadata.training_architecture_details"]
    assert assumed.endswith("decoder_init_norm 0.1, l1_coefficient 1.0, l1_warm_up_steps 0, lp_norm 1.0.")
    plain["metadata"]["training_architecture_details"] = {
        "decoder_init_norm": None, "l1_coefficient": 3.0, "lp_norm": 0.5, "l1_warm_up_steps": 7,
    }  # fmt: skip
    whole = from_saelens(plain, corpus="demo")
    assert (whole.config.sae.l1_coefficient, whole.config.sae.lp_norm) == (3.0, 0.5)
    assert set(remarks(whole, "lost")) == {"metadata.lr"}
    assert "√2" in remarks(whole, "changed")["decoder_init_norm"]


def _transcoder(architecture, **metadata):
    between = {"hook_name": "blocks.2.ln2.hook_normalized", "hook_name_out": "blocks.2.hook_mlp_out", **metadata}
    return {
        "architecture": architecture, "d_in": 12, "d_sae": 64, "d_out": 12, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"model_name": "gpt2", "dataset_path": "owner/name", **between},
    }  # fmt: skip


@pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder"])
def test_a_transcoder_is_trained_between_its_places(architecture):
    found = from_saelens(_transcoder(architecture))
    config = found.config
    assert (config.sae.architecture, config.sae.d_sae, config.activations.normalize) == (architecture, 64, "none")
    assert config.hook_names == ("blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_out")
    assert "SAELens trains none" in remarks(found, "changed")["architecture"]
    assert set(remarks(found, "lost")) == {"metadata.lr"}
    given = from_saelens(_transcoder(architecture, hook_name_out=None), hook_name_out="blocks.3.hook_mlp_out")
    assert given.config.hook_name_out == "blocks.3.hook_mlp_out"


@pytest.mark.parametrize(
    ("architecture", "metadata", "where", "text"),
    [
        ("jumprelu_transcoder", {}, "architecture", "trained with ReLU and an L1 penalty"),
        ("jumprelu_skip_transcoder", {}, "architecture", "Train a transcoder or skip_transcoder between the same"),
        ("matching_pursuit", {}, "architecture", "training of matching_pursuit cannot be translated"),
        ("transcoder", {"hook_name_out": None}, "hook_name_out", "Enter its hook name"),
        ("transcoder", {"hook_name_out": "blocks.2.mlp.hook_post"}, "metadata.hook_name_out", "not a hook point"),
    ],
)
def test_transcoders_that_cannot_be_trained_name_the_reason(architecture, metadata, where, text):
    with pytest.raises(ConfigError, match=text) as caught:
        from_saelens(_transcoder(architecture, **metadata))
    assert caught.value.where == where


GROUPS = GOLDEN / "saelens_groups"  # written by the package itself
HOOKS = ["blocks.2.hook_resid_post", "blocks.6.hook_mlp_out", "blocks.3.attn.hook_z.5"]


def _golden(name):
    return json.loads((GROUPS / f"{name}.json").read_text(encoding="utf-8"))


def _several(name="mixed", **changes):
    """Of the recorded configuration; dotted names reach inside."""
    return with_settings(_golden(name)["several"], changes)


@pytest.mark.parametrize("name", ["mixed", "sweep"])
def test_each_is_trained_as_alone(name):
    golden = _golden(name)
    found = from_saelens(golden["several"])
    runs = expand(found.config, found.over)
    assert [run.name for run in runs] == list(golden["alone"])
    for run, (sae, alone) in zip(runs, golden["alone"].items(), strict=True):
        expected = from_saelens(alone).config
        if expected.from_pretrained is not None:  # a checkpoint of several has a folder for each
            expected = expected.replace(from_pretrained=f"{expected.from_pretrained}/{sae}")
        assert run.replace(name=None) == expected
    assert found.config.name is None
    assert not remarks(found, "lost")
    written = json.loads(json.dumps(found.to_data()))
    assert expand(base_of(written["config"], written["over"]), written["over"]) == runs


def test_a_group_varies_only_differences_and_merges_remarks():
    found = from_saelens(_several("sweep"))
    assert found.over == {"name, sae.k": [["k8", 8], ["k16", 16], ["k32", 32]]}
    assert set(remarks(found)) == {
        "dataset_path", "n_batches_in_buffer", "saes", "saes.*.rescale_acts_by_decoder_norm",
    }  # fmt: skip
    assert str(found).startswith("gpt2-l6-batchtopk-k8 and 2 more, translated from SAELens")
    assert "saes.head.dtype" in remarks(from_saelens(_several()))


def test_changes_are_of_every_sae():
    found = from_saelens(_several(), hook_name="blocks.1.hook_resid_post", name="mine", **{"sae.d_sae": 48})
    runs = expand(found.config, found.over)
    assert [(run.name, run.hook_name, run.sae.d_sae) for run in runs] == [
        (f"mine-{sae}", "blocks.1.hook_resid_post", 48) for sae in ("wide", "sparse", "head")
    ]
    named = from_saelens(_several(**{"logger.run_name": "study"}))
    assert (named.config.name, named.over[next(iter(named.over))][0][0]) == ("study", "study-wide")
    tokens = {"corpus.kind": "tokens", "corpus.source": "lab/ids"}
    given = from_saelens(_several(), **tokens)
    assert (given.config.corpus.source, "dataset_path" in remarks(given)) == ("lab/ids", False)


def test_some_of_the_saes():
    two = from_saelens(_several(), saes=["head", "wide"])
    assert [run.hook_name for run in expand(two.config, two.over)] == [HOOKS[0], HOOKS[2]]
    one = from_saelens(_several(), saes=["head"])
    assert (one.over, one.config.name, one.config.hook_name) == ({}, "head", HOOKS[2])
    assert {"saes", "saes.head.dtype"} & set(remarks(one)) == {"saes.head.dtype"}


def test_an_sae_that_is_there_twice_is_trained_once():
    found = from_saelens(_several("sweep", **{"saes.k16.k": 8}))
    assert found.over == {"name, sae.k": [["k8", 8], ["k32", 32]]}
    assert "--saes k16 --seed 1" in remarks(found, "lost")["saes.k16"]
    assert from_saelens(_several("sweep"), **{"sae.k": 4}).over == {}


def test_rejects_a_group_with_different_scalings_and_names_ways_out():
    data = _several("sweep", **{"saes.k16.normalize_activations": "layer_norm"})
    with pytest.raises(ConfigError, match=r"activations\.normalize \(k8, k32: none; k16: layer_norm\)") as caught:
        from_saelens(data)
    assert (caught.value.where, "--saes k8,k32" in str(caught.value)) == ("saes", True)
    assert "--set activations.normalize=none" in str(caught.value)
    assert len(from_saelens(data, saes=["k8", "k32"]).over["name, sae.k"]) == 2
    assert len(from_saelens(data, **{"activations.normalize": "none"}).over["name, sae.k"]) == 3


@pytest.mark.parametrize(
    ("settings", "changes", "where"),
    [
        ({"saes": []}, {}, "saes"), ({"saes": {}}, {}, "saes"), ({"saes.wide": 3}, {}, "saes.wide"),
        ({"saes.wide.d_sae": "x"}, {}, "saes.wide.d_sae"), ({"saes.sparse.k": 9999}, {}, "saes.sparse.k"),
        ({"saes.head.architecture": "temporal"}, {}, "saes.head.architecture"), ({}, {"sae.k": 3}, "saes.wide.k"),
        ({"hook_names": {"wide": "blocks.0.hook_resid_post"}}, {}, "hook_names.sparse"),
        ({"hook_names.wide": "blocks.0.attn.hook_q"}, {}, "hook_names.wide"), ({"hook_names": 3}, {}, "hook_names"),
        ({"hook_names.other": "blocks.0.hook_resid_post"}, {}, "hook_names"),
        ({"hook_head_indices": {"other": 1}}, {}, "hook_head_indices"),
        ({"hook_head_indices.head": -1}, {}, "hook_head_indices.head"), ({}, {"tokens": 3}, "tokens"),
        ({}, {"saes": ["nope"]}, "saes"), ({}, {"saes": "wide"}, "saes"), ({}, {"saes": []}, "saes"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_of_several_names_its_setting(settings, changes, where):
    with pytest.raises(ConfigError) as caught:
        from_saelens(_several(**settings), **changes)
    assert caught.value.where == where


def test_one_sae_is_not_to_choose_from():
    with pytest.raises(ConfigError) as caught:
        from_saelens(_golden("sweep")["alone"]["k8"], saes=["k8"])
    assert caught.value.where == "saes"
