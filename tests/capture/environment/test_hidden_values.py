"""Secrets of a command line and a configuration stay out of run.json; hyperparameters stay in."""

import json
import sys
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loops import Training, mlp, vectors

from telemetry import TelemetryCallback
from telemetry.capture.environment.config import HIDDEN, flatten_config
from telemetry.capture.environment.script_arguments import config_of
from telemetry.format.runs import MANIFEST_NAME

S = "PLANTED"  # in every secret


@dataclass
class Hub:
    hub_token: str = f"{S}-27a"
    repository: str = "me/model"


@dataclass
class Arguments:
    hub: Hub = field(default_factory=Hub)
    wandbApiKey: str = f"{S}28"  # noqa: N815 - as others write it


COMMAND_LINE = [
    *("--token", f"{S}1"),
    f"--token2-token={S}2",
    *("--hub-token", f"{S}3"),
    f"--hub_token={S}4x",
    *("--wandb-key", f"{S}5"),
    *("--pwd", f"{S}6"),
    *("--password", f"{S}7"),
    f"--db-passwd={S}8",
    *("--database", f"postgres://u:{S}9@h/db"),
    f"--redis=redis://:{S}10@cache:6379/0",
    *("--header", f"Authorization: Bearer {S}11abc"),
    f"--other-header=Bearer {S}12abc",
    *("--secret-key", f"{S}13"),
    *("--client-secret", f"{S}14"),
    *("--hubtoken", f"{S}15"),
    "train",
    f"api_key={S}16",
    f"+hub.token={S}17",
    f"model.auth_token={S}18",
    f"https://me:{S}19@host/data.zip",
    f"https://host/data?sig=a&access_token={S}20&x=1",
]
CONFIG: dict[str, object] = {
    "credentials": {"user": f"{S}21", "nested": {"a": f"{S}22"}},
    "AWS_SECRET_ACCESS_KEY": f"{S}23",
    "apiKey": f"{S}24",
    "urls": [f"https://u:{S}25@a/b", "https://c/d"],
    "clients": [{"api_key": f"{S}26"}],
    "arguments": Arguments(),
    "space": Namespace(private_key=f"{S}29", lr=0.1),
    "text": "see hf_" + "PLANTED" + "30" * 12,
}
HYPERPARAMETERS: dict[str, object] = {
    "max_tokens": 512,
    "n_tokens": 4096,
    "pad_token": "<pad>",
    "bos_token": "<|begin_of_text|>",
    "eos_token": "</s>",
    "mask_token": "[MASK]",
    "bos_token_id": 1,
    "pad_token_id": -100,
    "num_keys": 8,
    "sort_key": "length",
    "text_key": "input_ids",
    "monitor_key": "val/loss",
    "label_key": "label",
    "key": "accuracy",
    "n_key_value_heads": 4,
    "key_dim": 64,
    "tokenizer": "gpt2-medium",
    "token_type": "word",
    "use_auth_token": False,
    "hub_token": None,
    "stop_tokens": [1, 2],
    "password_strength_model": "lstm2",
    "data": "https://host/data.zip",
    "optimizer": "AdamW(lr=0.001, betas=(0.9, 0.95))",
    "prompt": "Answer: yes or no",
    "keypoints": "coco17",
}


def test_no_planted_secret_reaches_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *COMMAND_LINE])
    training = Training(mlp, vectors)
    config = {"line": config_of(COMMAND_LINE), **CONFIG}
    with TelemetryCallback(
        training.model, training.optimizer, store=tmp_path, config=config
    ) as callback:
        assert callback.path is not None
        callback.fail(RuntimeError(f"cannot reach postgres://u:{S}31@h/db, token={S}32"))
    text = (callback.path / MANIFEST_NAME).read_text("utf-8")
    assert [value for value in json.loads(text)["config"].items() if S in str(value)] == []
    assert S not in text
    assert text.count(HIDDEN) >= 29


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_hyperparameters_stay(name: str) -> None:
    value = HYPERPARAMETERS[name]
    (recorded,) = flatten_config({name: value}).values()
    assert recorded == ("[1, 2]" if isinstance(value, list) else value)


def test_hyperparameters_of_a_command_line_stay() -> None:
    line = ["--max-tokens", "512", "--pad-token=<pad>", "model.sort_key=length", "opt.lr=0.1"]
    assert flatten_config(config_of(line)) == {
        "max_tokens": 512,
        "pad_token": "<pad>",
        "arguments": "model.sort_key=length opt.lr=0.1",
    }
