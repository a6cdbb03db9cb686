"""What undoes each fault, if the battery has it: written down before any of them was tried."""

from collections.abc import Mapping, Sequence

LOWER, HIGHER = ("lr/8", "lr/64"), ("lr*8", "lr*64")
START = ("init=he", "init=xavier", "init=orthogonal")
SCALED = ("standardize-inputs",)

# Of random set-ups. Of a rate any step towards the right one undoes it.
INJECTED: Mapping[str, Sequence[str]] = {
    "rate_far_too_high": LOWER,
    "rate_far_too_low": HIGHER,
    "rate_jumps": ("constant-lr", *LOWER),
    "rate_collapses": ("constant-lr", *HIGHER),
    "plateau_in_the_wrong_mode": ("constant-lr", *HIGHER),
    "forgets_to_clear": ("zero-grad",),
    "half_in_no_optimizer": ("add-forgotten",),
    "large_weights": START,
    "small_weights": START,
    "crushing_decay": ("no-weight-decay",),
    "dropout_of_nine_tenths": ("no-dropout",),
    "softmax_twice": ("no-softmax",),
    "inputs_not_scaled": SCALED,
    "not_centred": SCALED,
    "scales_apart": SCALED,
    "not_divided": ("mean-accumulation",),
    "large_epsilon": ("eps=1e-8",),
    "half_precision_weights": ("float32",),
    "stays_in_evaluation": ("modes",),
    "evaluated_in_training": ("modes",),
    "sorted_by_class": ("shuffle",),  # which reaches loaders only, and these set-ups have none
}
# It goes the right way, and no battery has enough of it.
PARTLY: Mapping[str, Sequence[str]] = {
    "loss_scaled_away": HIGHER,
    "half_precision_weights": HIGHER,
    "sigmoid_head": ("standardize-targets",),
    "tanh_head": ("standardize-targets",),
}
# Of published cases, by what mended them.
PUBLISHED: Mapping[str, Sequence[str]] = {
    "activity-recognition-10": ("no-softmax",),
    "aihwkit-446": ("zero-grad",),
    "caffe-1396": ("no-weight-decay",),
    "clevr-iep-22": ("modes",),
    "darkflow-1059": LOWER,
    "deep-learning-399": ("add-forgotten",),
    "deepchecker-IPS_15": (*LOWER, *SCALED),
    "deepchecker-IPS_5": LOWER,
    "deepfd-11": SCALED,
    "deepfd-13": LOWER,
    "deepfd-17": (*SCALED, "standardize-targets"),
    "deepfd-49": (*LOWER, "clip=1.0"),
    "forum-96648": (*SCALED, "standardize-targets"),
    "forum-cubic": (*SCALED, "standardize-targets"),
    "i3d-58": ("no-dropout",),
    "interhand-110": SCALED,
    "maskrcnn-295": LOWER,
    "ml-by-hand-85": ("float32",),
    "mlpnlp-4": ("eps=1e-8",),
    "mnemosyne-1987": START,
    "multibench-26": ("modes",),
    "nncf-327": ("add-forgotten",),
    "neural-sp-168": ("mean-accumulation",),
    "opennmt-744": LOWER,
    "pytorch-3dunet-53": ("modes",),
    "selene-115": ("constant-lr",),
    "srgan-94": ("constant-lr",),
    "super-gradients-416": ("shuffle",),
    "tutorials-640": ("constant-lr",),
    "umlaut-eval_b": LOWER,
}
