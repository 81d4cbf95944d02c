"""Hugging Face models by hub id or local folder: one place for how they load and for what can go wrong."""

import json
import math
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

from mlavl_cli.backbone import ELSEWHERE, MANIFEST_MAX_BYTES, WEIGHTS_SUFFIXES, BackboneSpec, model_files
from mlavl_cli.errors import WeightsError, refusing
from mlavl_cli.files import refuse_irregular
from mlavl_cli.untrusted import check_torch, open_safetensors

_MOST_LAYERS = 256
_MOST_LABELS = 1 << 16  # of each of which the library makes an entry in two tables
_MOST_ATTENTION = 1 << 30  # bytes of the matrix that compares all patches with each other, where one is made
# What a configuration may ask for: none of these shows in the size of a tensor, and all of them cost memory or time.
_MOST = {
    "image_size": 1024, "crop_size": 1024, "num_frames": 512, "frames_per_clip": 512, "num_channels": 64,
    "max_length": 8192, "num_mel_bins": 1024, "max_position_embeddings": 1 << 17, "vocab_size": 1 << 21,
}  # fmt: skip
_MOST_NUMBER = 1 << 22
_BOUNDED = re.compile(r"(?!tokenizer).*config.*\.json")  # a tokenizer's says 10^30 for a text of any length
# Settings by which the library would load other files than those of the folder that were checked.
_LEADS_ELSEWHERE = (
    "transformers_weights", "configuration_files", "fast_tokenizer_files",
    "vocab", "merges", "vocab_file", "merges_file", "tokenizer_file", "gguf_file", "repo_path", "class_info_file",
)  # fmt: skip
# Of these the library builds whatever class of its own they name, with rules of its own for what that loads.
_NAMES_A_CLASS = ("video_processor_type", "image_processor_type", "feature_extractor_type")
_PROCESSORS = re.compile(
    r"(VideoMAE|Vivit|VJEPA2|Timesformer|AST|CLIP)(ImageProcessor(Fast|Pil)?|VideoProcessor|FeatureExtractor)"
)
_OF_TOKENIZERS = frozenset({"tokenizer.json", "vocab.json"})  # tables of words, which name no files
_MOST_PATCHES = 1 << 16  # of a clip, each of which is compared with others; the largest known have 36,864
_MOST_JSON = {"tokenizer.json": 20 << 20, "vocab.json": 20 << 20}  # bytes; forty times as much memory reads them
_MOST_POSITIONS = 1 << 23  # numbers in a table that the library makes one by one; the largest known has 2.2 million
_READ_WHOLE = frozenset({".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm"})
_MOST_OTHER_BYTES = 64 << 20  # of one of these
# Of a clip, by the kind of model: which settings say how many pictures, of which size, cut into which patches.
_CUT_BY = {
    "vivit": ("num_frames", "image_size", "tubelet_size"),
    "vjepa2": ("frames_per_clip", "crop_size", "patch_size"),
}
_CUT_BY_DEFAULT = ("num_frames", "image_size", "patch_size")
_USUAL_SOUND = 128  # frames of a spectrogram: a clip of 32 frames, whatever length the model was trained on
_NUMBERS = frozenset(
    "F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL".split()
)  # of safetensors; smaller ones grow as they are read
_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt"})
_IS_IT_ONE = "Is it a saved Hugging Face model?"


def load_pretrained(load: Callable[..., Any], spec: BackboneSpec, **options: Any) -> Any:
    """`load` (a `from_pretrained`) from the spec's folder or hub id, quietly, never running code of the repository.

    Raises:
        WeightsError: naming the id, where it was looked for, and the way without a network.
    """
    if spec.source == ELSEWHERE:
        hint = "Score features of that kind: Scorer.score(RoutineFeatures), or `mlavl evaluate` on a manifest of them."
        raise WeightsError("these heads were trained on features whose backbone isn't known here", hint=hint)
    if spec.folder is None:
        options["revision"] = spec.revision
        if Path(spec.source).exists():  # which the library would read instead
            hint = "Run in another folder, or rename it."
            raise WeightsError(
                "is the id of a hub, and a file or folder here is called so", path=spec.source, hint=hint
            )
    elif spec.folder.is_dir():
        for path in sorted(path for path in spec.folder.iterdir() if path.is_file()):
            if path.suffix in WEIGHTS_SUFFIXES or path.suffix in _READ_WHOLE:  # others (of TensorFlow) aren't read
                with refusing(WeightsError, "is no file of a model", path, _IS_IT_ONE):
                    refuse_irregular(path, _MOST_OTHER_BYTES if path.suffix in _READ_WHOLE else None)
        for path in model_files(spec.folder):
            if path.name == "adapter_config.json":  # the library would follow it to another model
                raise WeightsError("is an adapter; save the whole model", path=path)
            if path.suffix == ".json" and path.stat().st_size > _MOST_JSON.get(path.name, MANIFEST_MAX_BYTES):
                raise WeightsError("far too large for a model's settings", path=path)
            if path.suffix == ".json" and path.name not in _OF_TOKENIZERS and not path.name.endswith(".index.json"):
                _refuse_odd_settings(path)
            if path.suffix in _PICKLED:
                _check_torch(path)
            if path.suffix == ".safetensors":
                _check_header(path)
    else:
        raise WeightsError("is a file, where the folder of a saved model is needed", path=spec.source, hint=_IS_IT_ONE)
    with _quiet():
        try:
            return load(spec.source, trust_remote_code=False, **options)
        except Exception as error:  # what a damaged model makes the library raise is nearly anything
            raise _explain(spec, error) from error


def load_model(kind: Any, spec: BackboneSpec, ignore: tuple[str, ...] = (), **options: Any) -> Any:
    """As `load_pretrained`, for a model of this class: frozen, in eval mode, and refused when tensors are missing from
    its file.

    `ignore` lists prefixes of tensors that the features don't depend on.
    """
    with refusing(WeightsError, "its configuration can't be used", spec.source, _IS_IT_ONE):
        _refuse_impossible(kind, spec)
    model, report = load_pretrained(kind.from_pretrained, spec, output_loading_info=True, **options)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(ignore))
    if missing:
        names, hint = ", ".join(missing[:3]), f"Is it really the weights of a {type(model).__name__}?"
        raise WeightsError(f"{len(missing)} tensors are missing: {names}, ...", path=spec.source, hint=hint)
    return model.eval().requires_grad_(False)


def _refuse_impossible(kind: Any, spec: BackboneSpec) -> None:
    """A configuration that asks for more than a backbone needs, or for more numbers than a folder's files can hold."""
    import torch
    from transformers import AutoConfig

    config = load_pretrained((getattr(kind, "config_class", None) or AutoConfig).from_pretrained, spec)
    # A backbone's own, which may have another name in its file, and those of parts that aren't used (a predictor).
    named = {name: value for name, value in vars(config).items() if name.endswith("num_hidden_layers")}
    for layers in (getattr(config, "num_hidden_layers", 1), *named.values()):
        if not (type(layers) is int and 0 < layers <= _MOST_LAYERS):
            raise WeightsError(f"its configuration says {layers!r:.60} layers", path=spec.source, hint=_IS_IT_ONE)
    for name, most in _MOST.items():
        if not _within(getattr(config, name, None), most):
            cause = f"its configuration says {name} {getattr(config, name)!r:.60}, more than {most}"
            raise WeightsError(cause, path=spec.source, hint=_IS_IT_ONE)
    attention = getattr(config, "_attn_implementation", None)
    if attention not in (None, "eager", "sdpa"):  # of other names the library fetches code, and runs it
        raise WeightsError(f"its configuration takes code from {attention!r:.60}", path=spec.source, hint=_IS_IT_ONE)
    if getattr(config, "quantization_config", None):  # as do several of these
        raise WeightsError("its configuration asks for quantised weights", path=spec.source, hint="Save it in full.")
    if _patches(config) > _MOST_PATCHES:
        cause = f"its configuration cuts a clip into {_patches(config):,.0f} patches"
        raise WeightsError(cause, path=spec.source, hint=_IS_IT_ONE)
    if "videomae" in str(config.model_type) and _patches(config) * config.hidden_size > _MOST_POSITIONS:
        cause = "its configuration asks for a table of positions that takes minutes to make"
        raise WeightsError(cause, path=spec.source, hint=_IS_IT_ONE)
    if _attention_bytes(config) > _MOST_ATTENTION:
        cause = f"its configuration compares all patches at once, in {_attention_bytes(config) / 1e9:.1f} GB"
        raise WeightsError(cause, path=spec.source, hint="Take its divided, or its sdpa attention.")
    if spec.folder is None:
        return
    build = kind.from_config if kind.__name__.startswith("Auto") else kind

    def on_paper(_: str, **__: Any) -> int:
        with torch.device("meta"):
            return sum(tensor.numel() for tensor in build(config).state_dict().values())

    asked = load_pretrained(on_paper, spec)
    held = sum(p.stat().st_size for p in spec.folder.iterdir() if p.suffix in WEIGHTS_SUFFIXES)
    if asked > held:  # a number takes a byte at the least
        cause = f"can't be loaded: its configuration asks for {asked:,} numbers, its files hold {held:,} bytes"
        raise WeightsError(cause, path=spec.source, hint="Is it whole?")


def _check_torch(path: Path) -> None:
    """Before the library lets torch read a file that holds a pickle."""
    try:
        check_torch(path)
    except Exception as error:  # a damaged file makes many kinds
        cause = str(error) if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        hint = "Save it as safetensors."
        raise WeightsError(f"can't be read as weights of torch ({cause})", path=path, hint=hint) from error


def _check_header(path: Path) -> None:
    try:
        with open_safetensors(path, "np") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a dict
        if odd := kinds - _NUMBERS:
            raise ValueError(f"it holds numbers of the kind {min(odd):.20}")
    except Exception as error:  # a damaged file makes several kinds
        raise WeightsError(f"can't be read as safetensors ({error})", path=path, hint="Is it whole?") from error


def _refuse_odd_settings(path: Path) -> None:
    """Before the library reads a configuration, which makes lists as long as some of its numbers."""
    try:
        if path.stat().st_size > MANIFEST_MAX_BYTES:
            raise WeightsError("far too large for a configuration", path=path)
        todo = [json.loads(path.read_text("utf-8"))]
    except (ValueError, OSError, RecursionError):
        return  # the library will say what is wrong with it
    while todo:
        value = todo.pop()
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        if isinstance(value, dict):
            labels = value.get("num_labels", 0)
            if type(labels) in (int, float) and labels > _MOST_LABELS:
                raise WeightsError(f"has {labels:g} labels, more than any backbone", path=path, hint=_IS_IT_ONE)
            if name := next((name for name in _LEADS_ELSEWHERE if isinstance(value.get(name), str | list)), None):
                raise WeightsError(f"holds {name}, which leads to other files", path=path, hint=_IS_IT_ONE)
            for name in _NAMES_A_CLASS:
                if (named := value.get(name)) is not None and not _PROCESSORS.fullmatch(str(named)):
                    cause = f"names {str(named)!r:.60} as its {name}, which belongs to no backbone"
                    raise WeightsError(cause, path=path, hint=_IS_IT_ONE)
        if type(value) is int and abs(value) > _MOST_NUMBER and _BOUNDED.fullmatch(path.name):
            cause = f"holds a number of {len(str(abs(value)))} digits, more than any setting"
            raise WeightsError(cause, path=path, hint=_IS_IT_ONE)


def _patches(config: Any) -> float:
    """Into how many patches it cuts a clip: its pictures, or its spectrogram. Nonsense is left to the library."""

    def area(name: str) -> float:
        """Height times width of a setting; one number is both."""
        value = getattr(config, name, None)
        value = 1 if value is None else value
        sides = value[-2:] if isinstance(value, list | tuple) else (value, value)
        return math.prod(side for side in sides if isinstance(side, int | float) and side > 0)

    if config.model_type == "audio-spectrogram-transformer":
        length = max(area("max_length"), _USUAL_SOUND**2)
        return math.sqrt(area("num_mel_bins") * length / area("time_stride") / area("frequency_stride"))
    frames, picture, patch = map(area, _CUT_BY.get(config.model_type, _CUT_BY_DEFAULT))
    return math.sqrt(frames) * picture / patch


def _attention_bytes(config: Any) -> float:
    """What a clip's attention takes at once, where it is made as a matrix: 0 where it isn't."""
    heads, patches = getattr(config, "num_attention_heads", 1), _patches(config)
    heads = heads if isinstance(heads, int) and heads > 0 else 1
    if config.model_type == "timesformer":
        if getattr(config, "attention_type", "") == "divided_space_time":  # frame by frame
            frames = max(getattr(config, "num_frames", 1), 1)
            return 4.0 * heads * frames * (patches / frames) ** 2
        return 4.0 * heads * patches**2
    return 4.0 * heads * patches**2 if getattr(config, "_attn_implementation", None) == "eager" else 0.0


def _within(value: Any, most: int) -> bool:
    """Whether no number in a setting (one, or several) is larger; settings that aren't there are."""
    values = value if isinstance(value, list | tuple) else list(value.values()) if isinstance(value, dict) else [value]
    return all(one is None or isinstance(one, str | bool) or (0 <= one <= most) for one in values)


def unfit(kind: str, error: Exception) -> WeightsError:
    """What is raised where a loaded model fails on its own kind of input."""
    cause = (str(error).splitlines() or [type(error).__name__])[0]
    hint = "Do its configuration and its weights belong together?"
    return WeightsError(f"the {kind} backbone can't take a clip ({cause})", hint=hint)


def _explain(spec: BackboneSpec, error: Exception) -> WeightsError:
    cause = str(error).strip().splitlines() or [type(error).__name__]
    if spec.folder is not None:
        return WeightsError(f"can't be loaded: {cause[0]}", path=spec.source, hint=_IS_IT_ONE)
    if not isinstance(error, OSError):  # it was had, and is something else
        return WeightsError(f"can't be loaded: {cause[0]}", path=spec.source, hint="Is it a model of this kind?")
    from huggingface_hub.constants import HF_HUB_CACHE

    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES"} else ""
    where = f"not in the cache at {HF_HUB_CACHE}, and not to be had from the hub{offline}"
    revision = f" --revision {spec.revision}" if spec.revision else ""
    hint = (
        f"Where there is a network, run: hf download {spec.source}{revision}. Then copy the cache here and set HF_HOME,"
        " or name a local folder in its place."
    )
    return WeightsError(where, path=spec.source, hint=hint)


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no load reports on stderr: what matters of them is checked and said by us."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
