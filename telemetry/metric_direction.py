"""Which way of a metric is better, read off its name; stated to the user and overridable."""

import re

# Words of losses, errors, divergences and costs.
LOWER_WORDS = """
    loss losses error errors err perplexity ppl nll mse rmse msle rmsle mae mape smape bce ce kl
    entropy xent wer cer ter eer fid kid ece brier hinge bpc bpb bpd bits distance divergence
    regret cost penalty latency time seconds residual mistakes misclassified
"""
# Words of hits, agreement, returns and quality scores.
HIGHER_WORDS = """
    acc accuracy f1 fbeta auc auroc auprc roc ap map precision recall score scores reward rewards
    return returns bleu sacrebleu chrf rouge rouge1 rouge2 rougel meteor cider spice r2 iou miou
    jaccard dice psnr ssim top1 top3 top5 top10 em exact match success win wins winrate ndcg mrr
    hit hits hitrate elbo likelihood correct kappa mcc pearson spearman kendall corr correlation
    specificity sensitivity throughput inception coverage agreement solved passed pass
"""
NEGATIONS = frozenset({"neg", "negative", "minus"})

_LOWER = frozenset(LOWER_WORDS.split())
_HIGHER = frozenset(HIGHER_WORDS.split())


def higher_is_better(name: str) -> bool:
    """Whether a larger value of the metric is the better one; a name without a known word: no.

    A word of loss or error decides before a word of quality (`score_loss`, `accuracy_error`), and
    a negation turns either round (`neg_mean_squared_error`, `negative_log_likelihood`).
    """
    words = _words(name)
    negated = not NEGATIONS.isdisjoint(words)
    if not _LOWER.isdisjoint(words):
        return negated
    return not _HIGHER.isdisjoint(words) and not negated


def tells_direction(name: str) -> bool:
    """Whether a word of the name says which way is better; the time of a step does, too."""
    return not (_LOWER | _HIGHER).isdisjoint(_words(name)) or name == "step_s"


def _words(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    # both `topAccuracy` and `mIoU` are one word written in two cases
    words = re.findall(r"[a-z]+\d*", f"{spaced} {name}".lower())
    # `acc1`, `f1score` and `hits10` count as their word; `top5` and `r2` are words themselves.
    return {*words, *(word.rstrip("0123456789") for word in words)}
