import hashlib
import json

import pytest
import torch
from torch import Tensor, nn

from telemetry.capture.catalogue.catalogue import Catalogue, IdRegistry, hash_id
from telemetry.capture.catalogue.module_roles import plain_attributes, role_of
from telemetry.format.shards import arrange
from telemetry.format.tables import table

Row = dict[str, object]


def tables(catalogue: Catalogue) -> tuple[list[Row], list[Row]]:
    rows = dict(catalogue.packet().rows())
    for name, values in rows.items():
        complete = values.append_column("attempt", [[1] * values.num_rows])
        arrange(table(name), complete)  # the writer accepts it
    return rows["tensors"].to_pylist(), rows["modules"].to_pylist()


def tensors(catalogue: Catalogue, kind: str = "weight") -> dict[str, Row]:
    return {str(r["name"]): r for r in tables(catalogue)[0] if r["kind"] == kind}


def modules(catalogue: Catalogue) -> dict[str, Row]:
    return {str(row["path"]): row for row in tables(catalogue)[1]}


def sgd(module: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(module.parameters(), lr=0.1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU())
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(self.embed(x)))
        return out


def test_ids_are_the_first_53_bits_of_blake2b_over_name_and_kind() -> None:
    digest = hashlib.blake2b(b"body.0.weight\0gradient").digest()
    expected = int(digest.hex(), 16) >> (512 - 53)
    assert hash_id("body.0.weight", "gradient") == expected
    model = Tied()
    rows = tensors(Catalogue(model, [sgd(model)]), "gradient")
    assert rows["body.0.weight"]["tensor_id"] == expected
    assert rows["body.0.weight"]["param_id"] == hash_id("body.0.weight", "weight")


def test_colliding_ids_are_salted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.capture.catalogue.catalogue.hash_id", lambda *parts: len(parts))
    registry = IdRegistry()
    assert registry.of("a", "weight") == 2
    assert registry.of("b", "weight") == 3
    assert registry.of("a", "weight") == 2
    assert registry.of("b", "weight") == 3


def test_a_row_of_tensors_tells_shape_fan_in_module_and_group() -> None:
    model = Tied()
    optimizer = torch.optim.AdamW(
        [{"params": model.body.parameters()}, {"params": model.embed.parameters()}]
    )
    model.body[1].bias.requires_grad_(requires_grad=False)
    catalogue = Catalogue(model, [optimizer])
    rows = tensors(catalogue)
    weight = rows["body.0.weight"]
    assert weight["shape"] == "[4, 4]"
    assert (weight["n"], weight["fan_in"], weight["dtype"]) == (16, 4, "float32")
    assert (weight["module"], weight["module_type"]) == ("body.0", "Linear")
    assert weight["module_id"] == catalogue.module_id("body.0")
    assert (weight["lr_group"], rows["embed.weight"]["lr_group"]) == (0, 1)
    assert (weight["trainable"], rows["body.1.bias"]["trainable"]) == (True, False)
    assert rows["body.0.bias"]["fan_in"] == 4
    assert weight["sharding"] == "replicated"


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(3, 8, 5), 75),
        (nn.ConvTranspose2d(3, 8, 5), 75),
        (nn.Linear(6, 2), 6),
        (nn.Embedding(9, 4), 4),
    ],
)
def test_fan_in_counts_the_elements_of_an_output_row(layer: nn.Module, fan_in: int) -> None:
    assert tensors(Catalogue(layer, [sgd(layer)]))["weight"]["fan_in"] == fan_in


def test_only_adam_type_optimizers_have_optimizer_state_rows() -> None:
    model = nn.Linear(2, 2)
    assert not tensors(Catalogue(model, [sgd(model)]), "optimizer_state")
    adam = torch.optim.Adam(model.parameters())
    assert set(tensors(Catalogue(model, [adam]), "optimizer_state")) == {"weight", "bias"}


def test_tied_weights_have_a_row_for_each_name_and_statistics_for_one() -> None:
    model = Tied()
    catalogue = Catalogue(model, [sgd(model)])
    rows = tensors(catalogue)
    assert rows["head.weight"]["shared_with"] == rows["embed.weight"]["tensor_id"]
    assert rows["embed.weight"]["shared_with"] is None
    assert "head.weight" not in tensors(catalogue, "gradient")
    entry = catalogue.entry(model.head.weight)
    assert entry is not None
    assert entry.name == "embed.weight"


def test_a_module_of_two_names_is_one_module_whose_weights_have_both() -> None:
    model = nn.ModuleDict({"first": nn.Sequential(nn.Linear(2, 3))})
    model["second"] = model["first"]
    model["again"] = model["first"][0]
    catalogue = Catalogue(model, [sgd(model)])
    rows = tensors(catalogue)
    assert rows["second.0.weight"]["shared_with"] == rows["first.0.weight"]["tensor_id"]
    assert {row["module"] for row in rows.values()} == {"first.0"}
    assert set(tensors(catalogue, "gradient")) == {"first.0.weight", "first.0.bias"}
    assert set(modules(catalogue)) == {"", "first", "first.0"}


def test_a_module_that_holds_itself_is_registered() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2)})})
    model["a"]["root"] = model
    rows = tensors(Catalogue(model, [torch.optim.SGD(model["a"]["b"].parameters())]))
    assert set(rows) == {"a.b.weight", "a.b.bias"}


def test_parameters_that_share_memory_without_being_the_same_are_noticed() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    model["b"].weight.data = model["a"].weight.data
    rows = tensors(Catalogue(model, [sgd(model)]))
    assert rows["b.weight"]["shared_with"] == rows["a.weight"]["tensor_id"]


def test_wrappers_are_removed_from_the_model_and_from_paths() -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    compiled = torch.compile(nn.DataParallel(inner))
    catalogue = Catalogue(compiled, [sgd(inner)])  # type: ignore[arg-type]
    assert catalogue.model is inner
    inner[1] = torch.compile(inner[1])  # type: ignore[assignment]
    again = Catalogue(inner, [sgd(inner)])
    assert set(tensors(again)) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert again.module_path(inner[1]._orig_mod) == "1"  # type: ignore[arg-type]


def test_module_paths_are_those_of_the_unwrapped_model() -> None:
    model = Tied()
    catalogue = Catalogue(model, [sgd(model)])
    assert catalogue.module_path(model) == ""
    assert catalogue.module_path(model.body[0]) == "body.0"
    assert catalogue.module_path(nn.Linear(1, 1)) is None
    rows = modules(catalogue)
    assert rows["body.0"]["parent_id"] == rows["body"]["module_id"]
    assert rows["body"]["parent_id"] == rows[""]["module_id"]
    assert rows[""]["parent_id"] is None
    assert (rows["body.0"]["n_parameters"], rows["body"]["n_parameters"]) == (20, 0)


def test_depth_is_registration_order_until_a_forward_was_seen() -> None:
    model = Tied()
    catalogue = Catalogue(model, [sgd(model)])
    rows = tensors(catalogue)
    registered = [rows[name]["depth"] for name in ("embed.weight", "body.0.weight", "body.1.bias")]
    assert registered == sorted(registered, key=lambda depth: int(str(depth)))
    assert {row["depth"] for row in modules(catalogue).values()} == {None}
    catalogue.set_execution_order(["", "body", "body.0", "embed", "body.0", "body.1"])
    assert catalogue.refresh()
    rows = tensors(catalogue)
    assert rows["body.0.weight"]["depth"] == 2
    assert rows["embed.weight"]["depth"] == 3
    assert modules(catalogue)["body.1"]["depth"] == 4
    assert modules(catalogue)["head"]["depth"] is None


def test_a_module_that_its_parent_runs_by_hand_is_as_deep_as_what_stands_before_it() -> None:
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 1), "last": nn.Linear(4, 4)})
    catalogue = Catalogue(model, [sgd(model)])
    catalogue.set_execution_order(["", "attention", "last"])
    rows = tensors(catalogue)
    assert rows["attention.out_proj.weight"]["depth"] == rows["attention.in_proj_weight"]["depth"]
    assert rows["last.weight"]["depth"] == 2


def test_a_model_whose_root_alone_ran_keeps_the_order_of_registration() -> None:
    model = Tied()
    catalogue = Catalogue(model, [sgd(model)])
    before = tensors(catalogue)
    catalogue.set_execution_order([""])
    assert tensors(catalogue) == before


def test_groups_are_numbered_over_all_optimizers_and_keep_their_number() -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2, bias=False) for name in "abc"})
    first, second = sgd(model["a"]), sgd(model["b"])
    catalogue = Catalogue(model, [first, second])
    groups = {name: row["lr_group"] for name, row in tensors(catalogue).items()}
    assert groups == {"a.weight": 0, "b.weight": 1, "c.weight": None}
    assert catalogue.without_optimizer() == [model["c"].weight]
    first.add_param_group({"params": [model["c"].weight]})
    assert catalogue.refresh()
    assert tensors(catalogue)["c.weight"]["lr_group"] == 2
    assert tensors(catalogue)["b.weight"]["lr_group"] == 1
    assert not catalogue.without_optimizer()


def test_parameters_of_an_optimizer_that_are_not_the_models_are_named_by_their_place() -> None:
    model = nn.Linear(2, 2)
    extra = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([*model.parameters(), extra], lr=0.1)
    rows = tensors(Catalogue(model, [sgd(model), optimizer]))
    assert (rows["optimizer.1.2"]["module"], rows["optimizer.1.2"]["n"]) == ("", 3)


def test_what_is_added_later_is_registered_by_refresh_and_told_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    catalogue = Catalogue(model, [sgd(model)])
    catalogue.packet()
    revision = catalogue.revision
    assert not catalogue.refresh()
    model.append(nn.Linear(2, 2))
    assert catalogue.refresh()
    assert catalogue.has_changed
    assert catalogue.revision > revision
    assert "1.weight" in tensors(catalogue)
    assert not catalogue.refresh()


def test_a_recreated_layer_takes_the_name_and_the_old_one_is_the_optimizers() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    catalogue = Catalogue(model, [sgd(model)])
    old = model[0].weight
    model[0] = nn.Linear(2, 2, bias=False)
    catalogue.refresh()
    new_entry, old_entry = catalogue.entry(model[0].weight), catalogue.entry(old)
    assert new_entry is not None
    assert old_entry is not None
    assert (new_entry.name, new_entry.lr_group) == ("0.weight", None)
    assert (old_entry.name, old_entry.lr_group) == ("optimizer.0.0", 0)


def test_a_discriminator_frozen_for_a_while_stays_trainable_in_the_catalogue() -> None:
    model = nn.Linear(2, 2)
    catalogue = Catalogue(model, [sgd(model)])
    catalogue.packet()
    model.requires_grad_(requires_grad=False)
    assert not catalogue.refresh()
    assert tensors(catalogue)["weight"]["trainable"] is True


def test_lazy_and_odd_parameters_do_not_stop_registration() -> None:
    model = nn.ModuleDict(
        {
            "lazy": nn.LazyLinear(4),
            "meta": nn.Linear(2, 2, device="meta"),
        }
    )
    model.register_parameter("complex", nn.Parameter(torch.zeros(3, dtype=torch.complex64)))
    model.register_parameter("empty", nn.Parameter(torch.zeros(3, 0)))
    model.register_parameter("scalar", nn.Parameter(torch.zeros(())))
    catalogue = Catalogue(model, [torch.optim.SGD([model.scalar], lr=0.1)])
    rows = tensors(catalogue)
    assert "lazy.weight" not in rows
    assert (rows["complex"]["n"], rows["scalar"]["shape"], rows["empty"]["n"]) == (
        6,
        "[]",
        0,
    )
    assert rows["empty"]["fan_in"] == 1
    model["lazy"](torch.zeros(1, 5))
    assert catalogue.refresh()
    assert tensors(catalogue)["lazy.weight"]["fan_in"] == 5


class Conv1D(nn.Module):
    """As in transformers: a linear layer with a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 12))


class RMSNorm(nn.Module):
    pass


class GPT2Attention(nn.Module):
    pass


@pytest.mark.parametrize(
    ("module", "role"),
    [
        (nn.Linear(1, 1), "linear"),
        (nn.Conv2d(1, 1, 1), "conv"),
        (nn.BatchNorm2d(1), "norm"),
        (nn.GroupNorm(1, 1), "norm"),
        (nn.MultiheadAttention(2, 1), "attention"),
        (nn.Embedding(1, 1), "embedding"),
        (nn.LSTM(1, 1), "recurrent"),
        (nn.GRUCell(1, 1), "recurrent"),
        (nn.ReLU(), "activation"),
        (nn.CrossEntropyLoss(), "loss"),
        (nn.Dropout(), "other"),
        (nn.Sequential(), "other"),
        (Conv1D(), "linear"),
        (RMSNorm(), "norm"),
        (GPT2Attention(), "attention"),
    ],
)
def test_roles_come_from_the_class_or_the_end_of_its_name(module: nn.Module, role: str) -> None:
    assert role_of(module) == role


def test_the_transposed_linear_of_transformers_has_its_fan_in() -> None:
    layer = Conv1D()
    assert tensors(Catalogue(layer, [sgd(layer)]))["weight"]["fan_in"] == 3


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.width, self.rate, self.causal = 8, 0.5, True
        self.token, self.limit, self.sizes = "secret", float("inf"), (3, 3)
        self.names, self.many = ("a",), tuple(range(100))


def test_attributes_are_numbers_and_texts_of_torch_alone() -> None:
    kept = plain_attributes(Holder())
    assert kept == {"width": 8, "rate": 0.5, "causal": True, "sizes": [3, 3]}
    linear = nn.Conv2d(3, 4, 5, padding_mode="reflect")
    row = modules(Catalogue(linear, [sgd(linear)]))[""]
    attributes = json.loads(str(row["attributes"]))
    assert (attributes["in_channels"], attributes["padding_mode"]) == (3, "reflect")
    assert plain_attributes(nn.Dropout(0.3))["p"] == 0.3


def test_a_packet_holds_memory_for_its_rows() -> None:
    model = nn.Linear(2, 2)
    assert Catalogue(model, [sgd(model)]).packet().n_bytes > 0
