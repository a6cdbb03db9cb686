"""Which parameters of a run are trained, which are frozen, and which no optimizer has."""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.format.foreign_names import is_foreign
from telemetry.json_values import Json, json_integer, json_list
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import as_float, as_text
from telemetry.store.sessions.session import Session

SQL = """
SELECT
    t.name,
    t.n,
    t.trainable,
    t.lr_group,
    t.depth
FROM tensors AS t
WHERE t.project = $project
    AND t.run = $run
    AND t.kind = 'weight'
    AND t.shared_with IS NULL
ORDER BY t.depth, t.name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedParameters:
    """Elements and names of the parameters of a model, as they were registered.

    Attributes:
        n_elements: Of the model.
        n_trainable: Of those that require a gradient.
        frozen: Names of those that require none, in order of execution.
        without_optimizer: Names of those that require one and are in no optimizer, where the
            callback was given one.
        n_foreign: Tensors of optimizers that are not the model's.
    """

    n_elements: int
    n_trainable: int
    frozen: tuple[str, ...]
    without_optimizer: tuple[str, ...]
    n_foreign: int

    def to_json(self) -> dict[str, Json]:
        """As it stands in JSON documents."""
        return {
            "n_elements": self.n_elements,
            "n_trainable": self.n_trainable,
            "frozen": list(self.frozen),
            "without_optimizer": list(self.without_optimizer),
            "n_foreign": self.n_foreign,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> "TrainedParameters":
        """Of what `to_json` gave; what is missing is empty."""
        return cls(
            n_elements=json_integer(raw.get("n_elements"), least=0) or 0,
            n_trainable=json_integer(raw.get("n_trainable"), least=0) or 0,
            frozen=tuple(map(str, json_list(raw.get("frozen")))),
            without_optimizer=tuple(map(str, json_list(raw.get("without_optimizer")))),
            n_foreign=json_integer(raw.get("n_foreign"), least=0) or 0,
        )


def trained_parameters(session: Session, run: Run) -> TrainedParameters:
    """What the catalogue of one run says."""
    records = session.query(SQL, {"project": run.ref.project, "run": run.run}).records()
    own = [record for record in records if not is_foreign(as_text(record["name"]))]
    trainable = [record for record in own if record["trainable"]]
    has_optimizer = any(record["lr_group"] is not None for record in records)
    return TrainedParameters(
        n_elements=sum(int(as_float(record["n"])) for record in own),
        n_trainable=sum(int(as_float(record["n"])) for record in trainable),
        frozen=tuple(as_text(record["name"]) for record in own if not record["trainable"]),
        without_optimizer=tuple(
            as_text(record["name"])
            for record in trainable
            if record["lr_group"] is None and has_optimizer
        ),
        n_foreign=len(records) - len(own),
    )
