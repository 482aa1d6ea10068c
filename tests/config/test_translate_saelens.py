"""SAELens' configurations: what each setting becomes, and that nothing is left out in silence."""

import inspect
import json
from pathlib import Path

import pytest

from saewidgets.config import HubCorpus, TokensCorpus
from saewidgets.config.translate import from_mistudio, from_saelens, saelens_run
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


def test_values_and_units():
    config = from_saelens(_runner(**{
        "training_tokens": 4_096_000, "train_batch_size_tokens": 4096, "context_size": 256,
        "store_batch_size_prompts": 16, "n_batches_in_buffer": 32, "dead_feature_window": 500,
        "n_batches_for_norm_estimate": 100, "n_eval_batches": 4, "eval_batch_size_prompts": 8, "n_checkpoints": 3,
        "adam_beta1": 0.5, "lr": 1e-3, "lr_end": 1e-4, "exclude_special_tokens": True, "device": "cuda",
        "logger.wandb_log_frequency": 30, "logger.eval_every_n_wandb_logs": 20, "sae.aux_loss_coefficient": 0.25,
        "sae.normalize_activations": "expected_average_only_in", "autocast": True, "seed": 7,
    })).config  # fmt: skip
    assert config.model == "openai-community/gpt2"
    assert config.hook_name == "blocks.6.hook_resid_pre"
    assert config.corpus == HubCorpus("Skylion007/openwebtext")
    assert (config.tokens, config.batch_size, config.steps, config.seed) == (4_096_000, 4096, 1000, 7)
    assert (config.activations.shuffle_tokens, config.activations.norm_tokens) == (32 * 16 * 256, 100 * 4096)
    assert (config.activations.normalize, config.activations.exclude_special_tokens) == (
        "expected_average_only_in", True,
    )
    assert config.dead_window_tokens == 501 * 4096
    assert (config.evaluation.every_steps, config.evaluation.tokens) == (600, 4 * 8 * 256)
    assert (config.log_every_steps, config.checkpoints.every_steps, config.checkpoints.keep_every) == (30, 250, True)
    assert (config.precision, config.device) == ("bfloat16", "auto")
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.lr_end, optimizer.beta1, optimizer.grad_clip) == (1e-3, None, 0.5, 1.0)
    assert (optimizer.lr_warm_up_steps, optimizer.lr_decay_steps, optimizer.lr_schedule) == (5, 8, "cosine")
    assert (optimizer.normalize_decoder_every, optimizer.project_decoder_grad) == (None, False)
    assert (config.sae.k, config.sae.aux_coefficient, config.sae.decoder_init_norm) == (4, 0.25, 0.1)


@pytest.mark.parametrize(
    ("given", "changes", "tokens"),
    [
        ((1000, 300), {}, 1200), ((100, 4096), {}, 4096), ((1200, 300), {}, 1200), ((1000, 300), {"tokens": 700}, 700),
        ((1000, 300), {"batch_size": 50}, 1000),
    ],
)
def test_the_last_batch_is_a_whole_one(given, changes, tokens):
    given = dict(zip(("training_tokens", "train_batch_size_tokens"), given, strict=True))
    found = from_saelens(_runner(**given), **changes)
    assert found.config.tokens == tokens
    assert ("training_tokens" in remarks(found, "changed")) == (not changes and tokens != given["training_tokens"])


def test_a_name_that_somebody_gave_is_taken():
    assert json.loads(RUNNER.read_text())["logger"]["run_name"] == "topk-32-LR-0.003-Tokens-7.200e+02"
    assert from_saelens(RUNNER).config.name is None
    own = "matryoshka_batchtopk-16384-LR-5e-05-Tokens-1.000e+09"
    assert from_saelens(_runner(**{"logger.run_name": own})).config.name is None
    for name in ("mine", "topk-32-LR-0.003", "topk-32-LR-0.003-Tokens-7.200e+02-again"):
        assert from_saelens(_runner(**{"logger.run_name": name})).config.name == name


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


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [
        ("hook_head_index", 3, "lost"),
        ("compile_sae", True, "lost"), ("use_cached_activations", True, "lost"),
        ("feature_sampling_window", 77, "lost"),
        ("resume_from_checkpoint", "x", "changed"),
        ("dtype", "bfloat16", "changed"), ("sae.dtype", "bfloat16", "changed"), ("autocast_lm", True, "changed"),
        ("a_new_setting", 1, "lost"),
        ("sae.normalize_activations", "layer_norm", "changed"),
        ("sae.k", 4.5, "changed"), ("sae.new", 1, "lost"), ("logger.log_to_wandb", True, "changed"),
        ("model_kwargs", {"a": 1}, "lost"), ("model_name", "gelu-2l", "changed"),
    ],
)  # fmt: skip
def test_what_does_not_come_over_is_said(setting, value, kind):
    assert setting in remarks(from_saelens(_runner(**{setting: value})), kind)


@pytest.mark.parametrize(
    ("loading", "expected", "lost"),
    [
        ({"torch_dtype": "torch.bfloat16", "revision": "step3000"}, ("bfloat16", "step3000"), set()),
        ({"dtype": "float16", "torch_dtype": None, "revision": None}, ("float16", None), set()),
        ({"torch_dtype": "auto"}, ("float32", None), {"torch_dtype"}),
        ({"dtype": "float64", "revision": 3}, ("float32", None), {"dtype", "revision"}),
        ({"center_writing_weights": True, "n_devices": 2}, ("float32", None), {"center_writing_weights", "n_devices"}),
        ({"center_writing_weights": False, "trust_remote_code": True}, ("float32", None), {"trust_remote_code"}),
    ],
)
def test_how_the_model_is_loaded(loading, expected, lost):
    found = from_saelens(_runner(model_from_pretrained_kwargs=loading))
    assert (found.config.model_dtype, found.config.model_revision) == expected
    assert set(remarks(found, "lost")) == {f"model_from_pretrained_kwargs.{name}" for name in lost}


def test_what_is_read_of_a_context_and_what_training_starts_from():
    found = from_saelens(_runner(
        seqpos_slice=[5, -5], exclude_special_tokens=[7, 3], from_pretrained_path="some/sae",
        **{"sae.architecture": "standard", "sae.normalize_activations": "layer_norm"},
    ))  # fmt: skip
    settings = found.config.activations
    assert (settings.seqpos_slice, settings.exclude_token_ids) == ((5, -5), (3, 7))
    assert (settings.exclude_special_tokens, settings.normalize) == (False, "layer_norm")
    assert found.config.from_pretrained == "some/sae"
    assert not {"seqpos_slice", "exclude_special_tokens", "from_pretrained_path"} & {r.setting for r in found.remarks}
    assert "sae.normalize_activations" not in remarks(found, "changed")
    assert from_saelens(_runner(resume_from_checkpoint="ckpt/1000")).config.from_pretrained == "ckpt/1000"
    assert from_saelens(_runner(exclude_special_tokens=True)).config.activations.exclude_special_tokens is True


@pytest.mark.parametrize(
    ("given", "precision", "remark"),
    [
        ({}, "float32", None),
        ({"dtype": "bfloat16"}, "float32", None),  # of the activation store
        ({"autocast": True}, "bfloat16", None),
        ({"sae.dtype": "bfloat16"}, "bfloat16", "run in bfloat16"),
        ({"sae.dtype": "torch.float16"}, "float16", "run in float16"),
        ({"sae.dtype": "float16", "autocast": True}, "bfloat16", "run in bfloat16"),
        ({"sae.dtype": "float64"}, "float32", "run in float32"),
    ],
)
def test_the_format_of_the_sae_decides_the_precision(given, precision, remark):
    found = from_saelens(_runner(**given))
    assert found.config.precision == precision
    assert ("sae.dtype" in remarks(found)) == (remark is not None)
    assert (remark or "") in remarks(found).get("sae.dtype", "")


def test_the_documentation_tells_what_becomes_of_every_setting():
    table = (GOLDEN.parents[1] / "docs" / "translation.md").read_text(encoding="utf-8")
    files = [path for path in (GOLDEN / "saelens_runs").glob("*.json") if path.stem != "schedules"]
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    settings = {name for run in runs for part in (run, run["sae"], run["logger"]) for name in part}
    quoted = inspect.getsource(saelens_run).split('"')
    settings |= {name for name in quoted if name.startswith(("jumprelu_", "pre_act_"))}
    settings |= set(json.loads((GOLDEN / "saelens_groups" / "mixed.json").read_text(encoding="utf-8"))["several"])
    missing = {name for name in settings - {"sae", "logger"} if f"`{name}`" not in table}
    assert missing == set()


def test_datasets():
    tokens = from_saelens(_runner(is_dataset_tokenized=True)).config.corpus
    assert tokens == TokensCorpus("Skylion007/openwebtext")
    assert from_saelens(_runner(dataset_path=""), corpus="demo").config.corpus.kind == "demo"
    with pytest.raises(ConfigError) as caught:
        from_saelens(_runner(dataset_path=""))
    assert caught.value.where == "dataset_path"


@pytest.mark.parametrize(
    ("module", "hook"),
    [
        ("transformer.h.3", "blocks.3.hook_resid_post"), ("model.layers.11.mlp", "blocks.11.hook_mlp_out"),
        ("gpt_neox.layers.0.attention", "blocks.0.hook_attn_out"),
        ("blocks.2.attn.hook_z", "blocks.2.attn.hook_z"),
    ],
)  # fmt: skip
def test_hook_points(module, hook):
    assert from_saelens(_runner(hook_name=module)).config.hook_name == hook


@pytest.mark.parametrize("head", [0, 11])
def test_one_head_comes_over(head):
    found = from_saelens(_runner(hook_name="blocks.2.attn.hook_z", hook_head_index=head))
    assert found.config.hook_name == f"blocks.2.attn.hook_z.{head}"
    assert "hook_head_index" not in remarks(found)


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
        ({"context_size": True}, "context_size"),
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
    found = from_saelens(RUNNER, tokens=10_000, corpus="notes.txt", **{"optimizer.lr": 2e-3})
    assert (found.config.tokens, found.config.corpus.files, found.config.optimizer.lr) == (10_000, ("notes.txt",), 2e-3)


def test_files_that_are_none(tmp_path):
    with pytest.raises(NotFoundError):
        from_saelens(tmp_path / "missing.json")
    for content in ("[1, 2]", "{not json", '{"a": 1}', "\xff"):
        (tmp_path / "bad.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(ConfigError):
            from_saelens(tmp_path / "bad.json")


@pytest.mark.parametrize("source", [[], None, 3, "", "~nobody-has-this-name/cfg.json"])
def test_what_is_no_file_and_no_table_is_refused(source):
    for translate in (from_saelens, from_mistudio):
        with pytest.raises((ConfigError, NotFoundError)) as caught:
            translate(source)
        assert caught.value.where == "source"


@pytest.mark.parametrize(
    ("given", "tokens", "said"),
    [
        ({"n_eval_batches": 0}, 256, "SAELens stops at its first evaluation"),
        ({"n_eval_batches": 1, "eval_batch_size_prompts": 1}, 256, "these are 128 tokens"),
        ({"n_eval_batches": 1, "eval_batch_size_prompts": 2}, 256, None),
        ({"n_eval_batches": 2, "eval_batch_size_prompts": 0}, 2 * 32 * 128, None),  # those of the store
    ],
)  # fmt: skip
def test_fewer_tokens_than_an_evaluation_may_have_are_remarked_on(given, tokens, said):
    found = from_saelens(_runner(**given))
    assert found.config.evaluation.tokens == tokens
    assert (said or "") in remarks(found, "changed").get("n_eval_batches", "")
    assert ("n_eval_batches" in remarks(found)) == (said is not None)


def test_how_documents_fill_the_contexts_comes_over():
    found = from_saelens(_runner(disable_concat_sequences=True, sequence_separator_token=7))
    assert (found.config.activations.join_documents, found.config.activations.separator) == (False, "7")
    assert not remarks(found, "lost")
    assert "disable_concat_sequences" not in remarks(found, "changed")
    assert from_saelens(_runner()).config.activations.separator == "bos"  # SAELens' default
    assert from_saelens(_runner(sequence_separator_token=None)).config.activations.separator == "none"


def test_conversations_come_over():
    found = from_saelens(_runner(use_chat_formatting=True, is_dataset_tokenized=False, dataset_path="lab/chats"))
    assert (found.config.corpus.path, found.config.corpus.chat) == ("lab/chats", True)
    assert not remarks(found, "lost")
    given = from_saelens(_runner(use_chat_formatting=True), corpus="demo")
    assert "chat=True" in remarks(given, "lost")["use_chat_formatting"]


@pytest.mark.parametrize(
    ("settings", "changes", "where"),
    [
        ({"logger": "x"}, {}, "logger"),
        ({"model_from_pretrained_kwargs": "x"}, {}, "model_from_pretrained_kwargs"),
        ({}, {"tokens.x": 3}, "tokens.x"),
        ({}, {"nothing": 3}, "nothing"),
    ],
)
def test_what_is_no_table_or_no_setting_is_named(settings, changes, where):
    with pytest.raises(ConfigError) as caught:
        from_saelens({**_runner(), **settings}, **changes)
    assert caught.value.where == where


def test_a_target_is_that_of_the_quadratic_penalty_alone():
    found = from_saelens({**_runner(), "sae": _sae("jumprelu", jumprelu_sparsity_loss_mode="step", target_l0=20)})
    assert found.config.sae.target_l0 is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"llm_device": "cpu", "act_store_device": "cpu", "prefetch_llm_batches": False}, {}),
        ({"llm_device": "None", "act_store_device": "with_model"}, {}),
        ({"llm_device": "cuda:1"}, {"model_device": "cuda:1"}),
        (
            {"device": "cuda:1", "llm_device": "cuda:0", "act_store_device": "with_model", "prefetch_llm_batches": 4},
            {
                "device": "cuda:1", "model_device": "cuda:0", "activations.buffer_device": "cuda:0",
                "activations.read_ahead": "on",
            },
        ),
        (
            {"device": "cuda", "llm_device": "cuda", "act_store_device": "cpu", "prefetch_llm_batches": True},
            {"device": "auto", "activations.buffer_device": "cpu", "activations.read_ahead": "on"},
        ),
        ({"llm_compilation_mode": "max-autotune"}, {}),
        ({"compile_llm": True}, {"model_compile": "default"}),
        ({"compile_llm": True, "llm_compilation_mode": "max-autotune-no-cudagraphs"},
         {"model_compile": "max-autotune-no-cudagraphs"}),
    ],
)  # fmt: skip
def test_devices_reading_ahead_and_compilation_come_over(given, expected):
    found = from_saelens(_runner(**given))
    assert found.config == from_saelens(_runner()).config.replace(**expected)
    assert not remarks(found, "lost")
