"""Of `explain dream`: what a picture reaches, and real examples."""

from telemetry.answer_page.html import Cell, number, numeric, table
from telemetry.answer_page.reading import Answer, mappings


def drawn(answer: Answer) -> str:
    """What real examples reach, and what the picture does."""
    reached = [
        (Cell("the picture made for it"), numeric(number(answer.get("activation")))),
        (Cell("noise, mean"), numeric(number(answer.get("noise_mean")))),
        *(
            (Cell(f"example {example['example_id']}"), numeric(number(example["value"])))
            for example in mappings(answer.get("top"))
        ),
    ]
    return table("Activations of the unit", ("input", "activation"), reached)
