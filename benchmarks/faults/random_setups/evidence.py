"""Where each fault of the random set-ups shows first, so that recall can be told by it.

The kinds are those of benchmarks/published/answers.py.
"""

KINDS = {
    "wiring": (
        "forgets_to_clear",
        "climbs",
        "half_in_no_optimizer",
        "detached",
        "stays_in_evaluation",
        "evaluated_in_training",
        "not_divided",
        "rate_jumps",
        "rate_collapses",
        "plateau_in_the_wrong_mode",
        "causal_mask_missing",
    ),
    "signal": (
        "large_weights",
        "small_weights",
        "killed_units",
        "softmax_over_one_unit",
        "relu_head",
        "sigmoid_head",
        "tanh_head",
        "constant_predictor",
        "gradients_of_zero",
        "state_that_forgets",
        "state_that_explodes",
        "no_nonlinearity",
        "without_negatives",
    ),
    "steps": (
        "rate_far_too_high",
        "rate_far_too_low",
        "crushing_decay",
        "large_epsilon",
        "half_precision_weights",
        "loss_scaled_away",
        "dropout_of_nine_tenths",
    ),
    "loss": (
        "batch_with_nan",
        "loss_of_a_root",
        "softmax_twice",
        "shapes_broadcast",
        "indices_to_a_binary_loss",
        "one_hot_to_an_index_loss",
        "divergence_outweighs",
    ),
    "data": (
        "same_batch_again",
        "targets_of_other_samples",
        "inputs_not_scaled",
        "all_labels_equal",
        "validation_labels_shuffled",
        "label_in_a_feature",
        "sorted_by_class",
        "not_centred",
        "scales_apart",
        "statistics_of_another_distribution",
        "wrong_axis_order",
    ),
}
EVIDENCE = {fault: kind for kind, faults in KINDS.items() for fault in faults}
