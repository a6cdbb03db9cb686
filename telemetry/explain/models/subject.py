"""The subject of an explanation: a model that can be run, its weights, and the examples."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from telemetry.capture.isolation.without_side_effects import undisturbed
from telemetry.capture.tensors.predictions import ID_CHARACTERS, MATRIX, input_digest
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_CHANNELS, IMAGE_DIMENSIONS, ExampleSet
from telemetry.explain.models.checkpoints import load_state, read_checkpoint
from telemetry.explain.models.entry_points import application_path, resolve
from telemetry.explain.models.origin import Origin
from telemetry.explain.names import kind_of
from telemetry.explain.progress import need_time
from telemetry.json_values import Json
from telemetry.requests.models import LIVE, ModelSource

if TYPE_CHECKING:
    from telemetry.explain.results.check import MethodCheck

IMAGE_BATCH = IMAGE_DIMENSIONS + 1
SINGLE_BITS = 32

ReadOutput = Callable[[object], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A model, and what is asked of it.

    Attributes:
        model: The module, on `device`.
        examples: The data set; None where none was named.
        checkpoint: Digest of the file of its weights; None where they come from none.
        step: Training step of the weights; None where that is not known.
        device: Where it runs.
        read_output: Takes the output of the model to a tensor.
        method_checks: What is known of methods, by the weights and the method: it is asked once.
    """

    model: nn.Module
    examples: ExampleSet | None
    checkpoint: str | None
    step: int | None
    device: torch.device
    read_output: ReadOutput
    method_checks: "dict[tuple[str, str], MethodCheck]" = field(default_factory=dict)

    @contextmanager
    def running(self, *, gradient: bool = False) -> Iterator[None]:
        """A block in which the model runs in evaluation mode and leaves no trace.

        Modes, flags, buffers and random states are as before when it ends.

        Args:
            gradient: Whether gradients with respect to inputs are wanted.
        """
        modes = {module: module.training for module in self.model.modules()}
        flags = {parameter: parameter.requires_grad for parameter in self.model.parameters()}
        self.model.eval()
        for parameter in flags:  # one by one: a module of TorchScript cannot do it at once
            parameter.requires_grad_(False)  # noqa: FBT003 - torch's signature
        try:
            with undisturbed(self.model, gradient=gradient):
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            for parameter, flag in flags.items():
                parameter.requires_grad_(flag)

    def with_weights(self, path: Path, *, state_key: str | None = None) -> "Subject":
        """The subject with the weights of a file, which its model now has; see `read_checkpoint`.

        Raises:
            UsageError: the file cannot be used, or belongs to another model.
        """
        loaded = read_checkpoint(path, state_key=state_key)
        load_state(self.model, loaded)
        return replace(self, checkpoint=loaded.digest, step=loaded.step)

    @property
    def identity(self) -> str:
        """Which weights: the digest of their file, else `live:` and a digest of themselves."""
        if self.checkpoint is not None:
            return self.checkpoint
        sha = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            sha.update(f"{name} {input_digest(tensor.detach().cpu())}\n".encode())
        return f"{LIVE}:{sha.hexdigest()[:ID_CHARACTERS]}"

    @property
    def origin(self) -> Origin:
        """What a result says of where it comes from."""
        return Origin(checkpoint=self.identity, step=self.step, examples=self.examples)

    @property
    def half_precision(self) -> torch.dtype | None:
        """The first type of the weights that has fewer than 32 bits; None: all have them."""
        types = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return next((one for one in types if torch.finfo(one).bits < SINGLE_BITS), None)

    def as_taken(self, inputs: Tensor) -> Tensor:
        """Inputs on the device of the model; fractions in the type of its first parameter.

        Data sets of numpy give float64 to models of float32, and those to models of bfloat16.
        """
        if not inputs.is_floating_point():
            return inputs.to(self.device)
        types = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return inputs.to(self.device, next(types, inputs.dtype))

    def outputs(self, inputs: Tensor) -> Tensor:
        """What the model says of a batch; call it inside `running()`.

        Args:
            inputs: Shape (n, ...), as the examples are, on any device.

        Returns:
            Shape (n, n_classes), or (n,) for one number an example; float32 at least.

        Raises:
            UsageError: the model fails on such inputs, or its output has another shape.
            TimeUp: the question has taken all of its time.
        """
        need_time()
        try:
            raw = self._run(inputs)
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"the model cannot be run on inputs of shape {tuple(inputs.shape)} "
                f"({type(error).__name__}: {error}); {_doubt(inputs)}"
            ) from error
        output = self._read(raw)
        if not isinstance(output, Tensor):
            raise UsageError(
                f"the model returns {kind_of(output)}, expected a tensor; {_advice(output)}."
            )
        if output.dim() == MATRIX and output.shape[1] == 1:
            output = output[:, 0]
        if output.dim() not in {1, MATRIX} or len(output) != len(inputs):
            raise UsageError(
                f"the model returns shape {tuple(output.shape)} for {len(inputs)} inputs, "
                f"expected ({len(inputs)}, classes) or ({len(inputs)},); see --output-fn."
            )
        return output if output.dtype is torch.float64 else output.float()

    def _run(self, inputs: Tensor) -> object:
        several = None if self.examples is None else self.examples.several
        if several is None:
            return self.model(self.as_taken(inputs))
        parts = [self.as_taken(part) for part in several.parted(inputs)]
        if not several.is_mapping:
            return self.model(*parts)
        names = [part.name for part in several.parts]
        return self.model(**dict(zip(names, parts, strict=True)))

    def _read(self, raw: object) -> object:
        try:
            return self.read_output(raw)
        except UsageError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"--output-fn cannot process the model's output, {kind_of(raw)} "
                f"({type(error).__name__}: {error})."
            ) from error


def load(  # noqa: PLR0913 - the one place where a user names everything
    model: str | nn.Module,
    *,
    checkpoint: str | Path | None = None,
    dataset: object = None,
    model_args: Mapping[str, Json] | None = None,
    state_key: str | None = None,
    device: str = "cpu",
    output_key: str | None = None,
    output_fn: str | ReadOutput | None = None,
    app_dir: str | Path = ".",
) -> Subject:
    """A model with its weights and examples, ready to be asked.

    Args:
        model: A module, or an entry point `package.module:callable` that returns one.
        checkpoint: File of a state dict; None: the weights as they are.
        dataset: A data set (see `telemetry.explain.inputs.examples`), or an entry point of one, or
            of a callable without arguments that returns one.
        model_args: Arguments of the entry point.
        state_key: Where in the file the state dict lies.
        device: Where the model runs.
        output_key: Which entry of an output that is a dictionary or tuple.
        output_fn: Takes the output to a tensor; a callable or an entry point.
        app_dir: Folder in which the user's modules are found.

    Raises:
        UsageError: an entry point, the file or the data set cannot be used.
    """
    with application_path(Path(app_dir)):
        module = _built(model, model_args or {})
        subject = Subject(
            model=_moved(module, device),
            examples=None if dataset is None else example_set(dataset),
            checkpoint=None,
            step=None,
            device=torch.device(device),
            read_output=_reader(output_key, output_fn),
        )
        if checkpoint is None:
            return subject
        return subject.with_weights(Path(checkpoint), state_key=state_key)


def load_source(source: ModelSource) -> Subject:
    """The subject that a request of the command line names.

    Raises:
        UsageError: as for `load`; or no model is named.
    """
    if source.model is None:
        raise UsageError("no model was given; name it with --model package.module:callable.")
    return load(
        source.model,
        checkpoint=source.checkpoint,
        dataset=source.dataset,
        model_args=_arguments(source.model_args),
        state_key=source.state_key,
        device=source.device,
        output_key=source.output_key,
        output_fn=source.output_fn,
        app_dir=source.app_dir,
    )


def _arguments(text: str) -> Mapping[str, Json]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--model-args {text!r} is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise UsageError(f"--model-args {text!r} is not a JSON object; write '{{\"width\": 8}}'.")
    return found


def _built(model: str | nn.Module, arguments: Mapping[str, Json]) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if not isinstance(model, str):
        raise UsageError(
            f"the model is {kind_of(model)}, expected an nn.Module or package.module:callable."
        )
    builder = resolve(model, "model")
    if not callable(builder):
        raise UsageError(f"model {model} is {kind_of(builder)}, expected a callable.")
    try:
        built = builder(**arguments)
    except Exception as error:  # the user's code may raise anything
        raise UsageError(
            f"model {model} cannot be built ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(built, nn.Module):
        raise UsageError(f"model {model} returned {kind_of(built)}, expected an nn.Module.")
    return built


def _moved(model: nn.Module, device: str) -> nn.Module:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # unknown, or not there
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device}: cannot be used ({reason}).") from error


def example_set(dataset: object) -> ExampleSet:
    """A data set, or what an entry point means: a data set, or a callable that returns one.

    Raises:
        UsageError: it cannot be found, made or read.
    """
    if not isinstance(dataset, str):
        return dataset if isinstance(dataset, ExampleSet) else ExampleSet(dataset, "data")
    found = resolve(dataset, "data set")
    is_made = hasattr(found, "__getitem__") and hasattr(found, "__len__")
    if callable(found) and (isinstance(found, type) or not is_made):
        try:
            found = found()
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"data set {dataset} cannot be created ({type(error).__name__}: {error})."
            ) from error
    return ExampleSet(found, dataset)


def _reader(key: str | None, function: str | ReadOutput | None) -> ReadOutput:
    if isinstance(function, str):
        found = resolve(function, "--output-fn")
        if not callable(found):
            raise UsageError(f"--output-fn {function} is {kind_of(found)}, not a callable.")
        function = found
    if function is not None:
        return function
    return (lambda output: output) if key is None else (lambda output: _entry(output, key))


def _doubt(inputs: Tensor) -> str:
    """Why inputs may not be what the model takes."""
    shape = tuple(inputs.shape)
    if len(shape) == IMAGE_BATCH and shape[1] not in IMAGE_CHANNELS and shape[-1] in IMAGE_CHANNELS:
        return "images must be channels x height x width; use values.permute(2, 0, 1)."
    if not inputs.is_floating_point() and inputs.dim() > 2:  # noqa: PLR2004 - texts are rows
        return f"they are {inputs.dtype}; pass images as fractions: values.float() / 255."
    return "does the data set belong to this model?"


def _advice(output: object) -> str:
    """How the part of an output that is no tensor can be named."""
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(output, Mapping):
        parts = output.items()
    elif isinstance(output, tuple | list):
        parts = enumerate(output)
    elif is_dataclass(output):
        parts = ((part.name, getattr(output, part.name)) for part in fields(output))
    tensors = {str(name): tuple(part.shape) for name, part in parts if isinstance(part, Tensor)}
    function = "a function with --output-fn package.module:function"
    if not tensors:
        return f"name {function}"
    shapes = ", ".join(f"{name} of shape {shape}" for name, shape in tensors.items())
    return f"choose its part with --output-key ({shapes}), or {function}"


def _entry(output: object, key: str) -> object:
    if isinstance(output, Mapping):
        if key in output:
            return output[key]
        raise UsageError(f"--output-key {key}: the model returns {', '.join(map(str, output))}.")
    if isinstance(output, tuple | list) and key.isdigit() and int(key) < len(output):
        return output[int(key)]
    found = getattr(output, key, None)
    if found is None:
        raise UsageError(f"--output-key {key}: {kind_of(output)} has no such part.")
    return found


def examples_of(subject: Subject) -> ExampleSet:
    """The data set of a subject.

    Raises:
        UsageError: it has none.
    """
    if subject.examples is None:
        raise UsageError("no examples were given; name them with --dataset package.module:name.")
    return subject.examples
