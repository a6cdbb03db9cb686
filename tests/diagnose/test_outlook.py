"""A run that fails is never left in silence."""

import pytest
from judged_runs import Chain, Chains, diagnosed, learning, stalled


def classifier(run: Chain, losses: list[float]) -> Chain:
    """A run whose loss is compared with guessing among ten classes."""
    run.losses(losses, every=4)
    for step in range(0, len(losses), 4):
        run.logits(step)
    return run


def test_a_run_that_learns_is_told_nothing(chain: Chains) -> None:
    outlook = diagnosed(classifier(chain(2), learning(200, end=0.23))).outlook
    assert (outlook.grade, outlook.text, outlook.suspects, outlook.unlooked) == ("none", "", (), ())
    assert not outlook.misses


def test_a_run_that_stays_at_guessing_says_so_and_who_could_not_look(chain: Chains) -> None:
    result = diagnosed(classifier(chain(2), stalled(2.3, 200)))
    assert result.outlook.misses
    assert "learns nothing" in result.outlook.text
    assert "random guessing scores 2.30 (ln 10)" in result.outlook.text
    assert [f.detector for f in result.findings] == ["loss_not_decreasing"]  # a symptom alone
    unlooked = set(result.outlook.unlooked)
    assert unlooked
    assert unlooked <= {entry.detector for entry in result.not_checked if not entry.absent}


def test_a_rule_that_is_switched_off_is_not_missed(chain: Chains) -> None:
    def run() -> Chain:
        return classifier(chain(2), stalled(2.3, 200))

    unlooked = diagnosed(run()).outlook.unlooked
    fewer = diagnosed(run(), disabled=unlooked[:1]).outlook.unlooked
    assert fewer == unlooked[1:]


def test_where_a_cause_is_found_nobody_else_is_suspected(chain: Chains) -> None:
    run = classifier(chain(8), stalled(2.3, 200))
    for step in range(0, 200, 4):
        run.gradients(step, [4.0**-k for k in range(7, -1, -1)])
    result = diagnosed(run)
    assert result.findings[0].detector == "vanishing_gradient"
    assert (result.outlook.suspects, result.outlook.unlooked) == ((), ())


def test_a_rule_that_was_asked_alone_does_not_speak_for_all(chain: Chains) -> None:
    run = classifier(chain(2), stalled(2.3, 200))
    outlook = diagnosed(run, detectors=["leakage"]).outlook
    assert (outlook.misses, outlook.text, outlook.unlooked) == (False, "", ())


def test_information_of_a_run_that_learns_nothing_is_a_suspect(chain: Chains) -> None:
    run = classifier(chain(2), stalled(2.3, 200))
    for step in range(0, 200, 4):
        run.activation("l0", "output", step, n=4096, sumsq=4096.0, dead_share=0.3)
    result = diagnosed(run)
    told = [f.detector for f in result.findings if f.severity == "info"]
    assert list(result.outlook.suspects) == told


@pytest.mark.parametrize(("n_steps", "is_short"), [(60, True), (99, True), (100, False)])
def test_a_run_below_a_hundred_steps_is_undertrained(
    chain: Chains, *, n_steps: int, is_short: bool
) -> None:
    text = diagnosed(classifier(chain(2), stalled(2.3, n_steps))).outlook.text
    assert text.startswith(f"undertrained: {n_steps} steps") is is_short


def test_little_says_which_share(chain: Chains) -> None:
    losses = [2.3, *learning(60, start=2.3, end=1.9), *stalled(1.9, 240, noise=0.005)]
    outlook = diagnosed(classifier(chain(2), losses)).outlook
    assert outlook.grade == "little"
    assert outlook.gained == pytest.approx(0.177, abs=0.01)
    assert "18% of what there was to gain over random guessing" in outlook.text


def test_a_loss_that_is_lost(chain: Chains) -> None:
    outlook = diagnosed(classifier(chain(2), [*learning(30), *[float("nan")] * 90])).outlook
    assert (outlook.grade, outlook.text) == ("broken", "the loss is lost")


def test_a_loss_too_noisy_to_tell_says_so(chain: Chains) -> None:
    outlook = diagnosed(classifier(chain(2), stalled(2.3, 120, noise=0.9))).outlook
    assert outlook.text.startswith("it is not known whether it learns: ")
    assert not outlook.misses
