"""Every setting, typed and documented: one section per room, unknown keys refused.

One file serves train, predict and evaluate. `preprocessing`, `patch` and `generator` are fixed by training and travel
with the model; `inference`, `outputs` and `evaluation` may be replaced afterwards. Defaults suit thorax CT.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from medgan.errors import MedganError, raise_all
from medgan.strict_yaml import read_yaml

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Distance = Annotated[float, Field(ge=0.0)]
Size = Annotated[int, Field(ge=1)]
Stride = Annotated[int, Field(ge=1, le=2)]
Kernel = Literal[1, 3]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
AdversarialLoss = Literal["bce", "least_squares", "hinge"]

DEFAULT_TOLERANCE_MM = 2.0
_RULES = {
    "percentiles": "must be a list of numbers above 0 and below 100",
    "surface_tolerance_mm": "must be a distance of 0 mm or more, or one by organ",
}


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, non-finite numbers refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what YAML 1.1 makes of a bare `on` or `yes` wherever no boolean is asked for."""
        if _holds_boolean(value) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("must not be a boolean (YAML reads a bare yes, no, on and off as one)")
        return value


def _holds_boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_boolean, value)))


class DataConfig(Section):
    """Which cases there are and which organs they are labelled with."""

    manifest: Path
    """CSV or JSON manifest. A relative path in a config file starts at that file's folder."""
    labels: Path
    """YAML labels file: a line `heart: 3` per organ."""
    root: Path | None = None
    """Folder that the manifest's paths may not leave; null is the manifest's own."""
    val_fraction: Fraction = 0.1
    """Fraction of the training patients set aside for validation where the manifest names no `val` case."""


class PreprocessingConfig(Section):
    """From a volume to what the network sees. Axes are always laid along R, A, S first."""

    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    """Voxel spacing along R, A, S in mm that every volume is resampled to; null keeps each volume's own."""
    intensity: Literal["window", "zscore"] = "window"
    """`window` maps `window` to -1..1 and clips (CT); `zscore` gives each volume mean 0 and deviation 1 (MR)."""
    window: tuple[float, float] = (-1000.0, 400.0)
    """Lower and upper intensity of `window`, in HU for CT."""

    @model_validator(mode="after")
    def _window_rises(self) -> Self:
        if not self.window[0] < self.window[1]:
            raise ValueError(f"window must rise, found {list(self.window)}")
        return self


class PatchConfig(Section):
    """Which pieces of a volume one training step sees."""

    size: tuple[Size, Size, Size] = (96, 96, 96)
    """Patch size along R, A, S in voxels of the resampled volume; K = 1 for 2D images."""
    foreground_fraction: Fraction = 0.5
    """Fraction of patches centred on an organ, each organ equally often; the others are anywhere."""


class AugmentationConfig(Section):
    """Random changes of training patches. A probability of 0 switches one off."""

    affine_probability: Fraction = 0.7
    """Rotation, scaling and shear, with the elastic field below, in one resampling."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation about each axis; in-plane only for 2D images."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Largest relative change in size."""
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest shear between two axes."""
    elastic_probability: Fraction = 0.0
    """Smooth random deformation."""
    elastic_mm: Annotated[float, Field(ge=0)] = 6.0
    """Standard deviation of the deformation at its control points, in mm."""
    mirror: bool = True
    """Mirror left to right, with the labels of mirror partners swapped, in half of the patches."""
    intensity_probability: Fraction = 0.5
    """Brightness and contrast."""
    gamma_probability: Fraction = 0.15
    """Gamma curve."""
    noise_probability: Fraction = 0.15
    """Gaussian noise."""
    blur_probability: Fraction = 0.1
    """Gaussian blur."""
    low_resolution_probability: Fraction = 0.1
    """Resampling to a coarser grid and back."""


class GeneratorConfig(Section):
    """The U-Net that segments. Depth and strides follow from patch size and spacing."""

    spatial_dims: Literal[2, 3] = 3
    """3: convolutions in space; 2: in the slice (I, J), every slice on its own."""
    channels: Annotated[int, Field(ge=4)] = 32
    """Channels of the first level; each level doubles them, up to `max_channels`."""
    max_channels: Annotated[int, Field(ge=4)] = 320
    """Upper limit of the channels of a level."""
    residual: bool = False
    """Residual instead of plain convolution blocks."""
    deep_supervision: bool = True
    """Losses on coarser levels as well, at weights 1/2, 1/4, ..."""
    strides: tuple[tuple[Stride, Stride, Stride], ...] | None = None
    """Downsampling into each level after the first, along R, A, S; null plans them. Filled in in a model folder."""
    kernels: tuple[tuple[Kernel, Kernel, Kernel], ...] | None = None
    """Convolution kernel of each level; null plans them. Filled in in a model folder."""


class AdversaryConfig(Section):
    """The discriminator, which sees image and segmentation together, and how it pulls the generator."""

    enabled: bool = True
    """false trains the same generator, from the same weights on the same patches, without an adversary."""
    loss: AdversarialLoss = "least_squares"
    """Adversarial loss of both sides."""
    weight: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the generator's adversarial loss against Dice + cross-entropy."""
    feature_matching_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the distance between discriminator features of prediction and reference of the same image."""
    warmup_fraction: Fraction = 0.1
    """Fraction of the training during which only the discriminator learns from the two facing each other."""
    ramp_fraction: Fraction = 0.2
    """Fraction of the training over which the weights then rise to their full value."""
    learning_rate: Positive = 2e-4
    """Learning rate of the discriminator (Adam, betas 0.5 and 0.999)."""
    channels: Annotated[int, Field(ge=4)] = 16
    """Channels of the discriminator's first level."""
    num_layers: Annotated[int, Field(ge=1, le=6)] = 3
    """Strided convolutions of the discriminator."""
    spectral_norm: bool = True
    """Bound the discriminator's slope by spectral normalisation."""
    instance_noise: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of noise on both segmentations that the discriminator sees; falls to 0 over the training."""


class TrainingConfig(Section):
    """How long, how fast and on what to train."""

    max_steps: Size = 20_000
    """Steps of the whole training; the schedule ends there."""
    max_minutes: Positive | None = None
    """Wall-clock limit in minutes; the schedule then ends at whichever limit comes first."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of weights, patches and augmentation."""
    device: str = "auto"
    """`auto` picks CUDA, MPS or CPU, in this order; or `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: Precision = "auto"
    """`auto`: bf16 where the device computes it natively, else fp16 on CUDA, else fp32."""
    batch_size: Size = 2
    """Patches per step."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.99."""
    learning_rate: Positive = 1e-3
    """Initial learning rate of the generator."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay of the generator."""
    schedule: Literal["poly", "cosine"] = "poly"
    """Fall of both learning rates: (1 - t)^0.9, or half a cosine."""
    gradient_clip: Positive = 12.0
    """Largest norm of a gradient, of generator and discriminator each."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the generator's weights that is validated and saved; shorter at the start."""
    validate_every: Size = 500
    """Steps between validations on whole cases."""
    checkpoint_every: Size = 500
    """Steps between savings of the state that `--resume` starts from."""
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare patches; 0 prepares them in between."""
    tensorboard: bool = True
    """Write scalars and image panels to `logs/` of the model folder, where tensorboard is installed."""


class InferenceConfig(Section):
    """How a trained generator is moved over a volume."""

    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Fraction of a window that the next one covers again."""
    blending: Literal["gaussian", "constant"] = "gaussian"
    """Weight of a window's voxels: falling towards its border, or all the same."""
    mirror: bool = False
    """Average the scores with those of the left-right mirrored volume (mirror partners swapped back)."""
    window_batch: Size = 1
    """Windows per forward pass."""
    precision: Precision = "auto"
    """As `training.precision`."""


class OutputsConfig(Section):
    """What is done to labels before they are written."""

    largest_component: tuple[str, ...] = ()
    """Organs of which only the largest connected component is kept."""


class EvaluationConfig(Section):
    """How predictions are compared with references."""

    surface: Literal["area", "voxels"] = "area"
    """What distances are measured between: surface elements weighted by their area, or boundary voxels."""
    percentiles: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = (95.0,)
    """Percentiles of the surface distances to report, 95 as `hd95_mm`."""
    surface_tolerance_mm: Distance | dict[str, Distance] = DEFAULT_TOLERANCE_MM
    """Distance in mm within which surfaces count as agreeing, for all organs or by organ (`default`: the others)."""
    undefined: Literal["count", "penalise"] = "count"
    """An organ missed or invented has no distances: leave it out of means and count it, or give it the worst value."""
    empty_references: Literal["refuse", "score"] = "refuse"
    """A reference without any organ: the case is not evaluated, or scored like every other."""
    pictures: Annotated[int, Field(ge=0)] = 24
    """Cases with a picture in the report, the worst and the median ones first."""

    @field_validator("percentiles", "surface_tolerance_mm", mode="wrap")
    @classmethod
    def _one_problem(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Tell one problem where there would be one for each part, or for each kind of value there may be."""
        if isinstance(value, Mapping) and any(map(_holds_boolean, value.values())):
            raise ValueError(_RULES[str(info.field_name)])
        try:
            return validate(value)
        except ValidationError as error:
            raise ValueError(_RULES[str(info.field_name)]) from error

    def tolerance_of(self, organ: str) -> float:
        """Return the tolerance of an organ, or group of organs, in mm."""
        if not isinstance(self.surface_tolerance_mm, dict):
            return self.surface_tolerance_mm
        return self.surface_tolerance_mm.get(organ, self.surface_tolerance_mm.get("default", DEFAULT_TOLERANCE_MM))


class Config(Section):
    """A whole experiment. `load_config` reads one from YAML."""

    data: DataConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    patch: PatchConfig = PatchConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    generator: GeneratorConfig = GeneratorConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    outputs: OutputsConfig = OutputsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def to_yaml(self) -> str:
        """Return the config with every value filled in, as YAML that `load_config` reads back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class _EvaluationAlone(Section):
    """What is read of a config where only its section evaluation counts."""

    evaluation: EvaluationConfig


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Return the `Config` of a YAML file.

    Args:
        path: the file. Relative paths in it start at its folder.
        overrides: `section.key=value` texts that replace single values; relative paths in them start at the current
            folder.

    Raises:
        MedganError: with all problems listed, each with its line, key, what is accepted and what was found.

    Example:
        >>> config = load_config("configs/debug.yaml", ["training.max_steps=20"])
        >>> config.training.max_steps
        20
    """
    path = Path(path)
    where = f"config {path}"
    document, lines = read_yaml(path, where=where)
    if not isinstance(document, dict):
        raise MedganError(f"{where}: must hold sections such as 'data:' and 'training:', found {document!r:.80}.")
    places = {key: f"line {line}" for key, line in lines.items()}
    _anchor_paths(document, path.parent)
    for override in overrides:
        places[_apply_override(document, override)] = "override"
    return parse_config(document, where=where, places=places)


def load_evaluation(path: str | Path | None = None, overrides: Sequence[str] = ()) -> EvaluationConfig:
    """Return the section `evaluation` of a YAML file, which needs no other; the others are not looked into.

    Args:
        path: the file; None starts from the defaults.
        overrides: `evaluation.key=value` texts that replace single values.

    Raises:
        MedganError: with all problems listed, as for `load_config`.

    Example:
        >>> load_evaluation(overrides=["evaluation.surface=voxels"]).surface
        'voxels'
    """
    where = "evaluation" if path is None else f"config {path}"
    document, lines = ({}, {}) if path is None else read_yaml(Path(path), where=where)
    if not isinstance(document, dict):
        raise MedganError(f"{where}: must hold a section 'evaluation:', found {document!r:.80}.")
    places = {key: f"line {line}" for key, line in lines.items()}
    unknown = [str(name) for name in document if name not in Config.model_fields]
    problems = [f"{places.get(name, 'key')}: {name}: there is no such key{_nearest([name])}." for name in unknown]
    if path is not None and "evaluation" not in document and not problems:
        problems = [f"must hold a section 'evaluation:', found {', '.join(document) or 'no section'}."]
    raise_all(problems, where=where)
    for override in overrides:
        if not override.startswith("evaluation."):
            raise MedganError(f"override {override!r}: only evaluation.key=value has a meaning here.")
        places[_apply_override(document, override)] = "override"
    try:
        return _EvaluationAlone.model_validate({"evaluation": document.get("evaluation", {})}).evaluation
    except ValidationError as error:
        raise_all([_problem(item, places) for item in error.errors(include_url=False)], where=where)
        raise  # errors() of a ValidationError is never empty


def parse_config(document: Mapping[str, Any], *, where: str, places: Mapping[str, str] | None = None) -> Config:
    """Return the `Config` of a nested mapping; `where` names it in messages, `places` says where each key stands.

    Raises:
        MedganError: with all problems listed.
    """
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise_all([_problem(item, places or {}) for item in error.errors(include_url=False)], where=where)
        raise  # errors() of a ValidationError is never empty


def config_schema() -> str:
    """Return the JSON schema of a config file, as kept in configs/schema.json for editors."""
    schema = Config.model_json_schema()
    schema["title"] = "medgan config"
    return json.dumps(schema, indent=2) + "\n"


def _anchor_paths(document: dict[str, Any], folder: Path) -> None:
    data = document.get("data")
    if isinstance(data, dict):
        for key in ("manifest", "labels", "root"):
            if isinstance(data.get(key), str):
                data[key] = str(folder / data[key])


def _apply_override(document: dict[str, Any], override: str) -> str:
    """Set one value of `document` and return its dotted key."""
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or "." in name:
        raise MedganError(f"override {override!r}: must look like section.key=value, as in training.max_steps=500.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise MedganError(f"override {override!r}: the value is not valid YAML.") from error
    group = document.setdefault(section, {})
    if not isinstance(group, dict):
        raise MedganError(f"override {override!r}: section {section} must be a mapping, found {group!r:.80}.")
    group[name] = value
    return f"{section}.{name}"


def _problem(item: Any, places: Mapping[str, str]) -> str:
    parts = [str(part) for part in item["loc"]]
    key = ".".join(parts)
    place = next((places[k] for n in range(len(parts), 0, -1) if (k := ".".join(parts[:n])) in places), None)
    place = f"{place}: {key}" if place else key or "config"
    if item["type"] == "extra_forbidden":
        return f"{place}: there is no such key{_nearest(parts)}."
    if item["type"] == "missing":
        return f"{place}: is required."
    if item["type"] == "model_type":
        return f"{place}: must be a section with keys of its own; found {item['input']!r:.80}."
    told = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return f"{place}: {told}; found {item['input']!r:.80}."


def _nearest(parts: list[str]) -> str:
    known = list(Config.model_fields)
    if len(parts) > 1:
        known = list(Config.model_fields[parts[0]].annotation.model_fields)  # type: ignore[union-attr]
    close = difflib.get_close_matches(parts[-1], known, n=1)
    return f"; did you mean {close[0]}" if close else f"; known are {', '.join(known)}"
