"""Which parameters a depth profile is made of, seen through the diagnosis of a run."""

from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.diagnose.context import load_context
from telemetry.diagnose.evidence.activation_sites import hidden_sites, sites
from telemetry.diagnose.evidence.network import Network
from telemetry.store.store import Store


def network(run: RunBuilder) -> Network:
    run.losses([1.0]).write()
    store = Store.open(run.store)
    with store.session(store.runs()) as session:
        return load_context(session, run.run).network


@pytest.mark.parametrize(
    ("name", "shape", "module_type", "is_matrix"),
    [
        ("fc.weight", (64, 32), "Linear", True),
        ("conv.weight", (8, 3, 3, 3), "Conv2d", True),
        ("rnn.weight_hh_l0", (32, 32), "LSTM", True),
        ("attention.in_proj_weight", (96, 32), "MultiheadAttention", True),
        ("value.weight", (1, 32), "Linear", True),
        ("embedder.0.weight", (64, 32), "Linear", True),
        ("fc.bias", (64,), "Linear", False),
        ("tokens.weight", (100, 32), "Embedding", False),
        ("pos_embed", (1, 16, 32), "Net", False),
        ("pos", (16, 32), "Net", False),
        ("cls_token", (1, 1, 32), "Net", False),
        ("fc.lora_A", (4, 32), "Adapter", False),
        ("gain", (1, 32), "Net", False),
        ("scale", (32, 1, 1), "Block", False),
    ],
)
def test_what_counts_as_a_matrix(
    tmp_path: Path, name: str, shape: tuple[int, ...], module_type: str, *, is_matrix: bool
) -> None:
    run = RunBuilder(store=tmp_path)
    run.parameter(name, shape=shape, depth=1, module_type=module_type)
    assert bool(network(run).matrices) is is_matrix


def test_frozen_and_foreign_tensors_are_no_matrices(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path)
    run.parameter("a.weight", shape=(8, 8), depth=1, trainable=False)
    run.parameter("optimizer.0.3", shape=(8, 8), depth=0)
    found = network(run)
    assert found.matrices == ()
    assert found.n_foreign == 1
    assert [p.name for p in found.parameters] == ["a.weight"]


def test_a_head_tied_to_an_embedding_is_no_matrix(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path)
    run.parameter("embed.weight", shape=(50, 8), depth=0, module_type="Embedding")
    run.parameter("head.weight", shape=(50, 8), depth=5)
    run.parameter("body.weight", shape=(8, 8), depth=2)
    owner = next(row for row in run.rows["tensors"] if row["name"] == "embed.weight")
    for row in run.rows["tensors"]:
        if row["name"] == "head.weight":
            row["shared_with"] = owner["tensor_id"]
    assert [p.name for p in network(run).matrices] == ["body.weight"]


def test_matrices_come_in_the_order_of_execution(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path)
    for name, depth in (("head", 9), ("stem", 1), ("body", 4)):
        run.module(name, depth=depth).parameter(f"{name}.weight", shape=(8, 8), depth=depth)
    found = network(run)
    assert [p.layer for p in found.matrices] == ["stem", "body", "head"]
    assert [m.path for m in found.chain] == ["stem", "body", "head"]
    assert found.depth_of("body") == 4
    assert found.depth_of("nowhere") > 100


def observed(run: RunBuilder) -> tuple[list[str], list[str]]:
    """What the sites are shown as: all, and the hidden ones."""
    run.losses([1.0]).write()
    store = Store.open(run.store)
    with store.session(store.runs()) as session:
        net = load_context(session, run.run).network
        rows = session.query(
            "SELECT a.layer, a.site, a.n_units FROM activations AS a ORDER BY a.layer, a.site"
        )
    return [s.shown for s in sites(rows, net)], [s.shown for s in hidden_sites(rows, net)]


def test_functional_activations_belong_to_the_layer_that_feeds_them(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path).module("", type_="Net", role="other", depth=0)
    for index, rows in enumerate((16, 32, 10)):
        run.module(f"c{index}", depth=index + 1, role="conv")
        run.parameter(f"c{index}.weight", shape=(rows, 8, 3, 3), depth=index + 1)
    run.activation("", "relu#0", 0, n_units=16).activation("", "relu#1", 0, n_units=32)
    run.activation("", "sigmoid#0", 0, n_units=10)
    everything, hidden = observed(run)
    assert everything == ["c0 (relu#0)", "c1 (relu#1)", "c2 (sigmoid#0)"]
    assert hidden == ["c0 (relu#0)", "c1 (relu#1)"]


def test_an_activation_that_fits_no_layer_keeps_its_module(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path).module("", type_="Net", role="other", depth=0)
    run.module("block", type_="Block", role="other", depth=1)
    run.activation("block", "relu#3", 0, n_units=7).activation("", "relu#0", 0, n_units=7)
    assert set(observed(run)[0]) == {"block (relu#3)", "the model (relu#0)"}


def test_a_list_of_layers_has_no_forward_of_its_own(tmp_path: Path) -> None:
    """Three layers of a list and a head, called by the model itself, each before a relu."""
    run = RunBuilder(store=tmp_path).module("", type_="Net", role="other", depth=0)
    run.add(
        "modules", module_id=1, parent_id=None, path="layers", type="ModuleList", depth=None,
        n_parameters=0, role="other", attributes="{}",
    )  # fmt: skip
    for index, path in enumerate(("layers.0", "layers.1", "layers.2", "head")):
        run.module(path, depth=index + 1)
        run.parameter(f"{path}.weight", shape=(16, 16), depth=index + 1)
        run.activation("", f"relu#{index}", 0, n_units=16)
    assert observed(run)[0] == [
        "layers.0 (relu#0)",
        "layers.1 (relu#1)",
        "layers.2 (relu#2)",
        "head (relu#3)",
    ]
