"""Lists, per format, the settings that its published files have and that cannot change what an SAE computes: of its
training, of the machine, and descriptions. Every other setting that no reader uses is refused."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# All settings of SAELens 2 to 6, also of whole runs, which early versions wrote into cfg.json.
SAELENS = _names("""
    act_store_device activation_fn_kwargs activation_save_path activations_mixing_fraction adam_beta1 adam_beta2
    autocast autocast_lm aux_loss_coefficient b_dec_init_method begin_batch_token begin_sequence_token
    buffer_size_gb cached_activations_path checkpoint_path compile_llm compile_sae context_size d_out data_dir
    data_files dataset dataset_path dataset_trust_remote_code dead_feature_estimation_method dead_feature_threshold
    dead_feature_window decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm decoder_orthogonal_init
    device disable_concat_sequences dtype entity eval_batch_size_prompts eval_every_n_wandb_logs
    exclude_bos_between_sequences exclude_special_tokens expansion_factor feature_reinit_scale
    feature_sampling_method feature_sampling_window finetuning_method finetuning_scaling_factor finetuning_tokens
    from_pretrained_path hf_hook_name hf_hook_name_out hook_eval hook_head_index hook_head_index_out hook_layer
    hook_layer_out hook_layers hook_name hook_name_out hook_point hook_point_head_index hook_point_layer hook_points
    init_encoder_as_decoder_transpose is_dataset_tokenized jumprelu_bandwidth jumprelu_init_threshold
    jumprelu_sparsity_loss_mode jumprelu_ste_to_input jumprelu_tanh_scale k l0 l0_coefficient l0_lambda
    l0_warm_up_steps l1_coefficient l1_warm_up_steps llm_compilation_mode llm_device log_activations_store_to_wandb
    log_optimizer_state_to_wandb log_to_wandb log_weights_to_wandb logger lp_norm lr lr_decay_steps lr_end
    lr_scheduler_name lr_warm_up_steps matryoshka_widths model_class_name model_from_pretrained_kwargs model_kwargs
    model_name mse_loss_normalization n_batches_for_norm_estimate n_batches_in_buffer n_checkpoints n_eval_batches
    n_restart_cycles neuronpedia_id noise_scale normalize_sae_decoder num_dead_features output_path
    pre_act_loss_coefficient prefetch_llm_batches prepend_bos release resample_batches resume resume_from_checkpoint
    run_name sae_compilation_mode sae_id sae_lens_training_version sae_lens_version save_final_checkpoint
    scale_sparsity_penalty_by_decoder_norm seed seqpos seqpos_slice sequence_separator_token
    sparsity_penalty_decoder_norm_lp_norm store_batch_size store_batch_size_prompts streaming target_l0
    tokens_per_buffer topk_threshold_lr total_training_steps total_training_tokens train_batch_size
    train_batch_size_tokens training_tokens unique_id use_cached_activations use_chat_formatting use_ghost_grads
    use_matryoshka_aux_loss use_sparse_activations verbose wandb_entity wandb_id wandb_log_frequency wandb_project
""") | _names("""
    residual_threshold max_iterations stop_on_duplicate_support n_heads n_attn_layers bottleneck_factor
    sae_diff_type kval_topk tied_weights activation_normalization_factor
""")  # what decides the maths of one architecture stands in the files of others, too
GEMMA_SCOPE_2 = _names("width l0 type")
MISTUDIO = SAELENS - {"k"} | _names("""
    format original_format layer hook_type activation_fn activation_fn_str mistudio_training_id
    mistudio_checkpoint_step mistudio_version training_id training_steps final_loss hyperparameters tied_weights
""")
SPARSIFY = _names("normalize_decoder multi_topk metadata")
DICTIONARY_LEARNING = _names("""
    activation_queue_length adaptive_sparsity_penalty anneal_end anneal_start auxk_alpha bandwidth decay_start
    device group_fractions group_sizes group_weights initial_sparsity_penalty k_anneal_steps l1_penalty
    lambda_warm_steps lr n_sparsity_updates norm_factor p_end p_start resample_steps seed sparsity_coefficient
    sparsity_function sparsity_loss_queue_length sparsity_penalty sparsity_queue_length sparsity_warmup_steps steps
    steps_before_annealing target_l0 threshold_beta threshold_start_step top_k_aux trainer_class wandb_name
    warmup_steps weights_temperature
""")
OPENMOSS = _names("""
    bias_init_method ddp_size decoder_exactly_fixed_norm device dtype exp_name exp_result_path exp_series
    init_decoder_norm init_encoder_norm init_encoder_with_decoder_transpose jumprelu_threshold_window k_warmup_steps
    l1_coefficient l1_coefficient_warmup_steps lp sae_pretrained_name_or_path sae_type seed
    sparsity_threshold_for_triton_spmm_kernel strict_loading tp_size use_batch_norm_mse use_ghost_grads
    use_triton_kernel
""")
CONNOR_ROB = _names("""
    anthropic_neuron_resample_scale anthropic_resample_batches anthropic_resample_last b_dec_init batch_size beta1
    beta2 buffer_batches buffer_mult buffer_size concat_heads contiguous dead_direction_cutoff device dict_mult
    enc_dtype eval_every head l1_coeff layer lr model_batch_size model_name name num_resamples num_tokens per_head
    re_init_every reinit remove_rare_dir resample_factor resample_scheme save_state_dict_every sched_epochs
    sched_finish sched_lr_factor sched_type sched_warmup_epochs seed seq_len site test wandb_entity
    wandb_project_name
""")
TEMPORAL = _names("data defaults deploy device device_id epochs bf16 eval hydra log optimizer seed tag")
TEMPORAL_MODEL = _names("model_hf_name name tokenizer_hf_name")
TEMPORAL_SAE = _names("block_id gamma_reg inference_mode_batchtopk min_act_regularizer_batchtopk")
CIRCUIT_TRACER = _names("repo_id revision scan subfolder transcoders")
OPENAI = _names("""
    latents_activation_frequency latents_mean_square stats_last_nonzero activation.k activation.postact_fn
""")
GHOSTTRACK = _names("""
    best_loss config epoch history layer_idx model_state_dict optimizer_state_dict scheduler_state_dict
""")
BACKUP = _names("ae config norm_factor optimizer step")  # of a training of dictionary_learning
