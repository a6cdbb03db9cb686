import re
from base64 import b64decode
from collections.abc import Mapping
from html.parser import HTMLParser

import pytest

from telemetry.answer_page import page
from telemetry.json_values import Json

EVIL = '</p><script>alert("x")</script><img src=x onerror=y>\x1b[31m\u202e\'"'
SHOWN = '</p><script>alert("x")</script><img src=x onerror=y>\\x1b[31m\\u202e\'"'
PNG = b"\x89PNG not really"
VOID = {"meta", "img", "br", "path", "circle"}

CHECKS: list[Json] = [
    {"name": "determinism", "value": 0.0, "threshold": 1e-6, "ok": True, "meaning": "two differ"},
    {"name": EVIL, "value": "nan", "threshold": 0.5, "ok": False, "meaning": f"it failed {EVIL}"},
]
COMMON: dict[str, Json] = {
    "answer": f"example 7 is called {EVIL}.",
    "checks": CHECKS,
    "ok": False,
    "warnings": [EVIL],
    "example_id": EVIL,
    "label": EVIL,
    "prediction": EVIL,
    "checkpoint": "9f",
    "image": "explain/images/a.png",
    "legend": f"blue +: for {EVIL}",
    "seconds": 1.9,
}
STEP: dict[str, Json] = {
    "value": 0.5,
    "prediction": EVIL,
    "correct": False,
    "p_label": 0.1,
    "margin": -2.0,
    "clipped": 0.0,
    "accuracy": 0.5,
    "ci_low": 0.4,
    "ci_high": 0.6,
}
GAP: dict[str, Json] = {
    "attribute": EVIL,
    "train_low": None,
    "train_high": 0.3,
    "outside_n": 4,
    "outside_share": 0.4,
    "error_outside": 0.5,
    "error_inside": 0.1,
    "example_ids": [EVIL],
    "neighbours": [[EVIL]],
    "reported": True,
    "finding": True,
}
EDIT: dict[str, Json] = {"name": EVIL, "before": EVIL, "after": None}
CONFIGURATION: dict[str, Json] = {
    "parameters": {EVIL: EVIL, "lr": 0.1},
    "mean_kept": 0.9,
    "folds": 10,
    "lost": 1,
    "p": 0.04,
}
KINDS: dict[str, dict[str, Json]] = {
    "input": {
        "top": [
            {
                "segment": EVIL,
                "value": 4.4,
                "share": 0.71,
                "std": 0.25,
                "by_baseline": {"zero": 4.75, "blur": 4.05},
                "unstable": True,
            }
        ],
        "baselines": ["zero", "blur"],
        "changed": [{"segment": EVIL, "prediction": EVIL, "share": 0.5}],
        "texts": [
            {
                "name": EVIL,
                "tokens": [
                    {"text": EVIL, "mark": "-0.5", "colour": "#2166ac", "ink": "#ffffff"},
                    {"text": "b", "mark": EVIL, "colour": "red;x:y", "ink": "#ffffff"},
                ],
            }
        ],
    },
    "perturb": {
        "perturbation_id": EVIL,
        "axis": EVIL,
        "unit": EVIL,
        "neutral": 0.0,
        "rows": [{**STEP, "value": 0.0, "correct": True, "margin": 3.0}, STEP],
    },
    "reduce": {
        "cell": None,
        "repair": {"parts": [EVIL], "edits": [EDIT]},
        "break": None,
        "right_id": EVIL,
    },
    "coverage": {"attributes": [GAP]},
    "weights": {
        "layer": EVIL,
        "shape": [2, 3],
        "rank": 1.5,
        "random_rank": 2.0,
        "smoothness": None,
        "dead": [1],
        "duplicates": None,
        "norm_median": 1.0,
    },
    "features": {
        "units": [
            {"unit": 1, "dead": True, "patches": []},
            {
                "unit": 2,
                "dead": False,
                "patches": [{"example_id": EVIL, "label": EVIL, "value": 2.5}],
            },
        ],
        "evolution": {
            "viz_id": EVIL,
            "has_steps": True,
            "steps": [0, 4, 16],
            "layers": [
                {"layer": EVIL, "changes": [0.5, 0.2, 0.0], "unchanged": False, "settled": 4},
                {"layer": "b", "changes": [0.0, 0.0, 0.0], "unchanged": True, "settled": 0},
            ],
            "image": "explain/images/b.png",
        },
    },
    "cv": {
        "cv_id": EVIL,
        "metric": EVIL,
        "goal": "max",
        "folds": 10,
        "notes": [EVIL],
        "configurations": [
            {**CONFIGURATION, "ci": None, "difference": None, "verdict": "incumbent"},
            {**CONFIGURATION, "ci": [-0.1, 0.3], "difference": 0.1, "verdict": "better"},
        ],
    },
    "dream": {"activation": 9.1, "noise_mean": 1.0, "top": [{"example_id": EVIL, "value": 5.2}]},
}


class Document(HTMLParser):
    """Tags with their attributes, and the text within; tags must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[Mapping[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def shown(key: str, **changed: Json) -> str:
    answer = {**COMMON, **KINDS[key], **changed}
    return page(f"explain of {EVIL}", key, [answer], lambda _: PNG)


@pytest.mark.parametrize("key", KINDS)
def test_nothing_runs_nothing_is_fetched_and_texts_stay_texts(key: str) -> None:
    text = shown(key)
    document = Document(text)
    names = {tag for tag, _ in document.tags}
    assert not names & {"script", "link", "iframe", "object", "a", "base", "form"}
    assert "://" not in text
    for tag, attributes in document.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert set(attributes) & {"src", "href"} == ({"src"} if tag == "img" else set())
    assert all(
        str(image["src"]).startswith("data:image/png;base64,") for image in document.all("img")
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert any(SHOWN in words for words in document.texts)


@pytest.mark.parametrize("key", KINDS)
def test_the_answer_its_failures_and_its_picture_are_there(key: str) -> None:
    document = Document(shown(key))
    answer = f"example 7 is called {SHOWN}."
    assert answer in document.texts
    assert f"FAILED {SHOWN}: it failed {SHOWN}" in document.texts
    assert f"note: {SHOWN}" in document.texts
    n_pictures = {"features": 2, "input": 0}.get(key, 1)  # a text is no picture
    images = document.all("img")
    assert [image["alt"] for image in images] == [answer] * n_pictures
    assert {b64decode(str(image["src"]).partition(",")[2]) for image in images} <= {PNG}
    assert "FAILED" in document.texts  # in the table of checks
    assert document.all("table")


def test_a_policy_keeps_even_a_forged_tag_from_doing_anything() -> None:
    (policy,) = [m for m in Document(shown("dream")).all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in str(policy["content"])


def test_tokens_have_colour_and_signed_value_and_no_other_style() -> None:
    document = Document(shown("input"))
    painted = [b.get("style") for b in document.all("b")]
    assert painted == ["background:#2166ac;color:#ffffff", None]
    assert "-0.5" in document.texts


def test_parts_have_their_doubts_and_what_each_baseline_says() -> None:
    document = Document(shown("input"))
    assert {"+4.4?", "0.25", "4.75", "4.05", "71.0 %", "50.0 %"} <= set(document.texts)
    assert len(document.all("table")) == 3


def test_curves_have_axes_units_and_words() -> None:
    document = Document(shown("perturb", axis="brightness", unit="of the range"))
    (svg,) = document.all("svg")
    assert svg["role"] == "img"
    assert len(document.all("title")) == 2  # of the page and of the chart
    assert document.texts.count("brightness (of the range)") == 2  # axis and table
    assert "margin of the truth" in document.texts
    assert any("least -2 at 0.5, most 3 at 0." in words for words in document.texts)


def test_accuracy_of_a_set_has_its_interval() -> None:
    document = Document(shown("perturb", example_id=None))
    assert "50.0 %" in document.texts
    assert "40.0 % .. 60.0 %" in document.texts
    assert any("shaded: 95 % interval" in words for words in document.texts)


def test_layers_over_checkpoints_differ_by_more_than_colour() -> None:
    document = Document(shown("features"))
    lines = [
        p for p in document.all("path") if p.get("stroke-width") == "2" and "h24" not in str(p)
    ]
    assert len({line["stroke-dasharray"] for line in lines}) == 2
    assert {"0", "4", "16"} <= set(document.texts)


def test_configurations_have_intervals_around_what_is_used() -> None:
    document = Document(shown("cv"))
    (interval,) = [p for p in document.all("path") if str(p.get("d")).count("h10") == 2]
    assert interval["stroke"] == "var(--ink)"
    assert {"-0.1 .. +0.3", "10, 1 lost", "better"} <= set(document.texts)
    assert "95 % intervals; above 0 is better" in document.texts


def test_an_answer_without_a_picture_shows_the_rest() -> None:
    text = page("t", "dream", [{**COMMON, **KINDS["dream"]}], lambda _: None)
    assert "<img" not in text
    assert "9.1" in Document(text).texts


def test_both_sets_of_a_gap_are_curves_over_its_values() -> None:
    histogram: Json = {"low": 0.0, "high": 2.0, "train": [3, 1], "test": [0, 5]}
    gap: Json = {**GAP, "train_low": None, "train_high": 1.9, "histogram": histogram}
    document = Document(shown("coverage", attributes=[gap]))
    assert len(document.all("svg")) == 1
    said = " ".join(document.texts)
    assert "training: least 0.25 at 1.5, most 0.75 at 0.5." in said
    assert "test: least 0 at 0.5, most 1 at 1.5." in said
    assert "most usual" in said
    assert "least usual of training" not in said


def test_ranges_of_training_are_said_in_words() -> None:
    gaps: list[Json] = [
        {**GAP, "train_low": low, "train_high": high}
        for low, high in ((None, None), (None, 0.3), (0.1, 0.3))
    ]
    texts = Document(shown("coverage", attributes=gaps)).texts
    assert {"hardly any", "up to 0.3", "0.1 .. 0.3"} <= set(texts)


def test_a_kind_without_a_drawing_of_its_own_has_tables_of_its_lists() -> None:
    rows: list[Json] = [{"part": EVIL, "total_share": 0.25, "box": [0, 1]}]
    answer = {**COMMON, "sums": rows, "box": [1]}
    document = Document(page("t", "unheard_of", [answer], lambda _: None))
    assert {"sums", "part", "total share", SHOWN, "0.25"} <= set(document.texts)
    assert "box" not in document.texts


def test_several_layers_have_a_table_of_their_own() -> None:
    answer = {**COMMON, **KINDS["weights"]}
    document = Document(page("t", "weights", [answer, answer], lambda _: None))
    assert len(document.all("section")) == 2
    assert "near-duplicates" in document.texts
