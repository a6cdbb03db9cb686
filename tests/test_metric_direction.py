import pytest

from telemetry.metric_direction import higher_is_better

HIGHER = """accuracy acc val_acc val/acc1 valAccuracy eval_f1 f1score auc roc_auc top5 hits10 r2
    eval/BLEU rouge1 reward episode_return mean_score mIoU psnr exact_match neg_mean_squared_error
    win_rate average_precision log_likelihood"""
LOWER = """loss val_loss train/loss error error_rate val_err perplexity ppl rmse MAE nll
    negative_log_likelihood score_loss accuracy_error brier_score wer FID cross_entropy
    step_time something grad_norm lr/1"""


@pytest.mark.parametrize("name", HIGHER.split())
def test_hits_and_quality_should_rise(name: str) -> None:
    assert higher_is_better(name)


@pytest.mark.parametrize("name", LOWER.split())
def test_losses_errors_and_what_nobody_knows_should_fall(name: str) -> None:
    assert not higher_is_better(name)
