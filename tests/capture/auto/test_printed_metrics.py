"""Numbers in what a script prints, and a stream that stays as it was."""

import io
import math
from collections.abc import Mapping

import pytest

from telemetry.capture.auto.printed_metrics import LINE_LIMIT, PrintedMetrics, metrics_of


@pytest.mark.parametrize(
    ("line", "metrics"),
    [
        ("val_loss=0.52", {"val_loss": 0.52}),
        ("val_loss: 5.2e-1, accuracy = 91.25%", {"val_loss": 0.52, "accuracy": 91.25}),
        ("Epoch 3 | train/loss=.5 | lr=1E-3 |", {"train/loss": 0.5, "lr": 1e-3}),
        ("Train Loss: 0.3 Val Loss: 0.5.", {"Train_Loss": 0.3, "Val_Loss": 0.5}),
        ("[1,  2000] loss: 2.173", {"loss": 2.173}),
        ("Test set: Average loss: 0.05, Accuracy: 9800/10000", {"Average_loss": 0.05}),
        ("\x1b[32mloss=-1\x1b[0m", {"loss": -1.0}),
        ("score: inf", {"score": math.inf}),
        ("time: 12:30:05, date: 2026-01-02, n: 1,024, version=1.2.3, took=5s, to=3/4", {}),
        ("loss: information", {}),
        ("https://host:80/a?b=3x", {}),
        ("1=2", {}),
        ("", {}),
    ],
)
def test_a_line_gives_its_numbers_by_name(line: str, metrics: dict[str, float]) -> None:
    assert metrics_of(line) == metrics


def test_a_long_line_is_read_in_no_time_and_only_its_beginning_counts() -> None:
    assert metrics_of("a=1 " + "word " * 100_000 + "b=2") == {"a": 1.0}
    assert metrics_of("x" * LINE_LIMIT) == {}


def observed(stream: io.StringIO) -> tuple[PrintedMetrics, list[Mapping[str, object]]]:
    found: list[Mapping[str, object]] = []
    return PrintedMetrics(stream, found.append), found


def test_a_line_is_read_when_it_is_whole_and_a_progress_bar_each_time_it_is_drawn() -> None:
    stream = io.StringIO(newline="")
    printed, found = observed(stream)
    print("loss=", end="", file=stream)
    print(0.5, "acc:", 1, file=stream)
    stream.writelines(["\rloss=0.4", "\rloss=0.3", "\nloss=0.2"])
    assert found == [{"loss": 0.5, "acc": 1.0}, {"loss": 0.4}, {"loss": 0.3}]
    printed.stop()
    assert stream.write("\n") == 1
    assert len(found) == 3
    assert stream.getvalue() == "loss=0.5 acc: 1\n\rloss=0.4\rloss=0.3\nloss=0.2\n"
    assert vars(stream) == {}


def test_an_error_of_the_reader_never_reaches_who_prints(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Mapping[str, object]) -> None:
        raise RuntimeError("on purpose")

    stream = io.StringIO()
    PrintedMetrics(stream, fail)
    assert stream.write("a=1\nb=2\n") == 8
    assert stream.write("c=3\n") == 4
    assert stream.getvalue() == "a=1\nb=2\nc=3\n"
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: printed metrics are no longer recorded: RuntimeError: on purpose"
    ]


def test_an_error_of_the_stream_is_its_own() -> None:
    stream = io.StringIO()
    _, found = observed(stream)
    stream.close()
    with pytest.raises(ValueError, match="closed") as caught:
        stream.write("a=1\n")
    assert [entry.name for entry in caught.traceback] == ["test_an_error_of_the_stream_is_its_own"]
    assert found == [{"a": 1.0}]
