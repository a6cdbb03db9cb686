"""Whatever kind there is: its parts are there, and one document is the way between both halves."""

import json
from importlib import import_module
from importlib.util import find_spec

import pytest

from telemetry.errors import UsageError
from telemetry.format.tables import table
from telemetry.requests.explain.features import KIND as FEATURES
from telemetry.requests.explain.features import FeaturesRequest, FeaturesSettings
from telemetry.requests.kinds import explain_kind, explain_kinds, requested_kind
from telemetry.requests.models import Keep, ModelSource

NAMES = [kind.name for kind in explain_kinds()]
OTHERS = ("evaluate", "hypotheses", "cv")


@pytest.mark.parametrize("name", NAMES)
def test_a_kind_is_named_after_its_file_and_all_its_parts_are_there(name: str) -> None:
    kind = explain_kind(name)
    assert (kind.name, kind.verb) == (name, f"explain.{name}")
    assert requested_kind({"verb": kind.verb}) is kind
    assert find_spec(f"telemetry.cli.explain.{name}") is not None
    assert find_spec(f"telemetry.explain.{kind.room}.{name}_answers") is not None


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_verbs_that_need_torch_are_found_the_same_way(name: str) -> None:
    kind = import_module(f"telemetry.requests.{name}").KIND
    assert requested_kind({"verb": kind.verb}) is kind
    assert find_spec(f"telemetry.explain.{kind.room}.{name}_answers") is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_kind_names_columns_of_its_table(name: str) -> None:
    kind = explain_kind(name)
    columns = {column.name for column in table(kind.table).columns}
    order = {column.removesuffix(" DESC") for column in kind.order}
    assert {kind.identity, "answer", "written_at"} | order | set(kind.shown) <= columns
    assert kind.unread <= columns
    assert not kind.unread & set(kind.shown)


def test_kinds_that_share_a_table_read_it_alike_and_tell_their_rows_apart() -> None:
    for kind in explain_kinds():
        for other in explain_kinds():
            if kind.table == other.table and kind is not other:
                assert (kind.identity, kind.order, kind.unread) == (
                    other.identity,
                    other.order,
                    other.unread,
                )
                assert kind.row_kinds
                assert not kind.row_kinds & other.row_kinds


def test_a_request_travels_with_its_settings_and_its_verb() -> None:
    request = FeaturesRequest(
        source=ModelSource(model="shop:build"),
        keep=Keep(run="r"),
        layer="conv2",
        settings=FeaturesSettings(units=(0, 3), limit=7),
    )
    document = json.loads(json.dumps(FEATURES.document(request)))
    assert document["verb"] == "explain.features"
    assert requested_kind(document).read(document) == request


@pytest.mark.parametrize("verb", [None, "cv", "explain.nothing", "kinds", "settings.run", "../x"])
def test_an_unknown_verb_is_refused(verb: object) -> None:
    with pytest.raises(UsageError, match="there is no command"):
        requested_kind({"verb": verb})  # type: ignore[dict-item]
