"""SAELens' configurations: what each setting becomes, and that nothing is left out in silence."""

import inspect
import json
from pathlib import Path

import pytest

from saewidgets.config import HubCorpus
from saewidgets.config.base import dotted
from saewidgets.config.translate import from_mistudio, from_saelens, saelens_config
from saewidgets.errors import ConfigError, NotFoundError
from tests.config.translated import remarks, with_settings

GOLDEN = Path(__file__).parents[1] / "golden"
RUNNER = GOLDEN / "saelens_runs" / "topk.json"  # written by the package itself


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
        ({"n_eval_batches": 1, "eval_batch_size_prompts": 1}, {"evaluation.tokens": 256}, "changed n_eval_batches"),
        ({"n_eval_batches": 2, "eval_batch_size_prompts": 0}, {"evaluation.tokens": 8192}, ""),
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
        ({"compile_sae": True}, {}, "lost compile_sae"),
        ({"use_cached_activations": True}, {}, "lost use_cached_activations"),
        ({"feature_sampling_window": 77}, {}, "lost feature_sampling_window"),
        ({"resume_from_checkpoint": "ckpt/1000"}, {"from_pretrained": "ckpt/1000"}, "changed resume_from_checkpoint"),
        ({"from_pretrained_path": "some/sae"}, {"from_pretrained": "some/sae"}, ""),
        ({"autocast_lm": True}, {"model_dtype": "bfloat16"}, "changed autocast_lm"),
        ({"logger.log_to_wandb": True}, {}, "changed logger.log_to_wandb"),
        ({"model_kwargs": {"a": 1}}, {}, "lost model_kwargs"),
        ({"model_name": "gelu-2l"}, {"model": "gelu-2l"}, "changed model_name"),
        ({"dtype": "bfloat16"}, {}, "changed dtype"),
        ({"autocast": True}, {"precision": "bfloat16"}, ""),
        ({"sae.dtype": "bfloat16"}, {"precision": "bfloat16"}, "changed sae.dtype"),
        ({"sae.dtype": "torch.float16"}, {"precision": "float16"}, "changed sae.dtype"),
        ({"sae.dtype": "float16", "autocast": True}, {"precision": "bfloat16"}, "changed sae.dtype"),
        ({"sae.dtype": "float64"}, {}, "changed sae.dtype"),
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
        ({"hook_name": "blocks.2.attn.hook_z"}, {"hook_name": "blocks.2.attn.hook_z"}, ""),
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
        ({"llm_compilation_mode": "max-autotune"}, {}, ""),
        ({"compile_llm": True}, {"model_compile": "default"}, ""),
        ({"compile_llm": True, "llm_compilation_mode": "max-autotune-no-cudagraphs"},
         {"model_compile": "max-autotune-no-cudagraphs"}, ""),
        ({"logger.run_name": "mine"}, {"name": "mine"}, ""),
        ({"logger.run_name": "topk-32-LR-0.003"}, {"name": "topk-32-LR-0.003"}, ""),
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


def test_the_documentation_tells_what_becomes_of_every_setting():
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


def test_files_that_are_none(tmp_path):
    with pytest.raises(NotFoundError):
        from_saelens(tmp_path / "missing.json")
    for content in ("[1, 2]", "{not json", '{"a": 1}', "\xff"):
        (tmp_path / "bad.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(ConfigError):
            from_saelens(tmp_path / "bad.json")


def test_what_is_no_file_and_no_table_is_refused():
    for source in ([], None, 3, "", "~nobody-has-this-name/cfg.json"):
        for translate in (from_saelens, from_mistudio):
            with pytest.raises((ConfigError, NotFoundError)) as caught:
                translate(source)
            assert caught.value.where == "source"


def test_a_target_is_that_of_the_quadratic_penalty_alone():
    found = from_saelens({**_runner(), "sae": _sae("jumprelu", jumprelu_sparsity_loss_mode="step", target_l0=20)})
    assert found.config.sae.target_l0 is None
