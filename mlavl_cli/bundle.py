"""Weight bundles: a folder with `bundle.json`, backbones (or their hub ids) and one head a target. No torch here."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from mlavl_cli.backbone import MANIFEST_MAX_BYTES, BackboneSpec, is_hub_id
from mlavl_cli.errors import NoSuchWeights, WeightsError, one_line, refusing
from mlavl_cli.files import atomic_write, refuse_irregular
from mlavl_cli.hub_bundle import fetch_bundle, is_hub_name
from mlavl_cli.untrusted import digest_of, plain_targets, refuse_links

BUNDLE_VERSION = 1
MANIFEST = "bundle.json"
_FASTEST = 1000  # frames a second
_MOST_HEADS, _LONGEST_PATH = 64, 4096  # letters
MOST_WORDS = 2000  # letters of what stands with every score
_PACKAGE = Path(__file__).resolve().parent
WEIGHTS_FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "weights")  # installed wheel, source checkout


@dataclass(frozen=True)
class Bundle:
    """`bundle.json`, read and checked. `heads` maps each target to its file; a bundle without heads only extracts."""

    folder: Path
    name: str
    sport: str
    trained_on: str
    licence: str
    clip_frames: int
    visual: BackboneSpec
    audio: BackboneSpec
    text: BackboneSpec | None = None
    heads: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    consistency: dict[str, Any] | None = None  # measured AUCs; None: never measured (docs/method.md, section 14)
    frame_rate: float | None = None  # at which the training clips were cut; None: each video's own
    intervals: dict[str, Any] = field(default_factory=dict)  # by target (scores/interval.py)
    domain: Path | None = None  # the training set's features, of the out-of-domain detector
    files: dict[str, str] = field(default_factory=dict)  # relative path -> sha256

    @property
    def fingerprint(self) -> str | None:
        """Of all its files: another one where any of them was trained again; None where it lists none."""
        listed = json.dumps(sorted(self.files.items()))
        return hashlib.sha256(listed.encode()).hexdigest() if self.files else None


def bundled_names() -> list[str]:
    """The names of what came with the package."""
    return sorted(manifest.parent.name for manifest in _bundled().glob(f"*/{MANIFEST}"))


def _bundled() -> Path:
    return next((folder for folder in WEIGHTS_FOLDERS if folder.is_dir()), WEIGHTS_FOLDERS[0])


def find_bundle(name_or_folder: str | Path | Bundle) -> Bundle:
    """A bundled name, a folder or `user/name[@revision]` on a hub -> its bundle; one that was found already is itself.

    A bundled name always means what came with the package: `mini` is never `./mini`.

    Raises:
        NoSuchWeights, WeightsError: there is no such bundle, or its `bundle.json` is broken.
    """
    if isinstance(name_or_folder, Bundle):
        return name_or_folder
    if isinstance(name_or_folder, str) and name_or_folder in bundled_names():
        return read_bundle(_bundled() / name_or_folder)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return read_bundle(folder)
    if is_hub_name(name_or_folder):
        return read_bundle(fetch_bundle(str(name_or_folder)))
    hint = f"Give a folder with {MANIFEST}, user/name on the hub, or one of: {', '.join(bundled_names())}."
    raise NoSuchWeights("no such weights", path=folder, hint=hint)


def read_bundle(folder: Path) -> Bundle:
    """Reads and checks `folder/bundle.json`; every file it names must lie inside the folder.

    Raises:
        WeightsError: missing, not JSON, a field missing or of the wrong kind, a path that leads out of the folder.
    """
    manifest = folder / MANIFEST
    try:
        if manifest.is_symlink():
            raise WeightsError("is a link; a bundle holds its own files", path=manifest)
        refuse_irregular(manifest)
        if manifest.stat().st_size > MANIFEST_MAX_BYTES:
            raise WeightsError("far too large for a bundle's description", path=manifest)
        data = json.loads(manifest.read_text(encoding="utf-8"))
        if data["version"] != BUNDLE_VERSION:
            hint = f"This mlavl reads version {BUNDLE_VERSION}."
            raise WeightsError(f"bundle version {data['version']!r}", path=manifest, hint=hint)
        return Bundle(
            folder=folder,
            **{key: one_line(_words(data, key)) for key in ("name", "sport", "trained_on", "licence")},
            clip_frames=_typed(data, "clip_frames", int),
            visual=_backbone(folder, data["visual"]),
            audio=_backbone(folder, data["audio"]),
            text=_backbone(folder, data["text"]) if data.get("text") else None,
            heads=_heads(folder, data.get("heads", {})),
            metrics=dict(data.get("metrics") or {}),
            consistency=_measured(data.get("consistency")),
            frame_rate=_frame_rate(data.get("frame_rate")),
            intervals=dict(data.get("intervals") or {}),
            domain=_inside(folder, _typed(data, "domain", str)) if data.get("domain") else None,
            files={str(name): str(digest) for name, digest in data.get("files", {}).items()},
        )
    except OSError as error:
        hint = f"A bundle is a folder with {MANIFEST}."
        raise WeightsError(f"can't be read ({error.strerror})", path=manifest, hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"isn't valid JSON ({error})", path=manifest) from error
    except KeyError as error:
        raise WeightsError(f"lacks {error}", path=manifest) from error
    except (TypeError, AttributeError) as error:
        raise WeightsError(f"has a field of the wrong kind ({error})", path=manifest) from error


def write_bundle(bundle: Bundle) -> None:
    """Writes `bundle.json` atomically, with the SHA-256 of every file the bundle holds."""

    def relative(path: Path) -> str:
        return path.relative_to(bundle.folder).as_posix()

    def backbone(spec: BackboneSpec) -> dict[str, Any]:
        source: dict[str, Any] = {"id": spec.source, "revision": spec.revision}
        if spec.folder is not None and spec.folder.is_relative_to(bundle.folder):
            source = {"folder": relative(spec.folder)}
        return {**source, "options": spec.options, **({"dim": spec.dim} if spec.dim else {})}

    held = sorted(p for part in ("heads", "backbones") for p in bundle.folder.glob(f"{part}/**/*") if p.is_file())
    held += [bundle.domain] if bundle.domain else []
    data = {
        "version": BUNDLE_VERSION,
        **{
            key: getattr(bundle, key) for key in ("name", "sport", "trained_on", "licence", "clip_frames", "frame_rate")
        },
        "visual": backbone(bundle.visual),
        "audio": backbone(bundle.audio),
        "text": backbone(bundle.text) if bundle.text else None,
        "heads": {target: relative(path) for target, path in bundle.heads.items()},
        "metrics": bundle.metrics,
        "consistency": bundle.consistency,
        "intervals": bundle.intervals,
        "domain": relative(bundle.domain) if bundle.domain else None,
        "files": {relative(path): digest_of(path) for path in held if not path.name.startswith(".")},
    }
    with atomic_write(bundle.folder / MANIFEST, "w") as file:
        json.dump(data, file, indent=2, ensure_ascii=False)
        file.write("\n")


def verify_bundle(bundle: Bundle) -> list[str]:
    """What differs between the bundle's files and their recorded SHA-256; empty when all is as written."""
    digest_once = cache(digest_of)  # of one file under many names
    with refusing(WeightsError, "names a file that there can't be", bundle.folder / MANIFEST):
        problems = [f"{target}: {path.name} is missing" for target, path in bundle.heads.items() if not path.is_file()]
        for name, digest in bundle.files.items():
            path = _inside(bundle.folder, name)
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif digest_once(path) != digest:
                problems.append(f"{name} has changed since the bundle was written")
        if bundle.files:
            told = {_inside(bundle.folder, name) for name in bundle.files}
            loaded = [path for spec in (bundle.visual, bundle.audio, bundle.text) if spec for path in spec.files()]
            loaded += [*bundle.heads.values(), *([bundle.domain] if bundle.domain else [])]
            inside = [path for path in loaded if path.is_relative_to(bundle.folder) and path not in told]
            problems += [f"{path.relative_to(bundle.folder)} is loaded, and isn't among its files" for path in inside]
    return problems


def _backbone(folder: Path, data: dict[str, Any]) -> BackboneSpec:
    options, revision, dim = dict(data.get("options") or {}), data.get("revision"), data.get("dim")
    if not (dim is None or type(dim) is int):
        raise TypeError(f"dim must be int, is {dim!r:.60}")
    if not is_hub_id("any", revision):
        raise WeightsError(f"names the revision {revision!r:.60}, which is none", path=folder / MANIFEST)
    if "folder" not in data:
        source = _typed(data, "id", str)
        if not is_hub_id(source):
            cause = f"names {source!r:.60}, which is no id of a hub"
            raise WeightsError(
                cause, path=folder / MANIFEST, hint="A local backbone lies in a subfolder of the bundle."
            )
        return BackboneSpec(source, revision, options, local=False, dim=dim)
    source = _inside(folder, data["folder"])
    if os.path.realpath(source) == os.path.realpath(folder):
        raise WeightsError("names itself as a backbone", path=folder / MANIFEST, hint="It lies in a subfolder.")
    refuse_links(source)
    return BackboneSpec(str(source), revision, options, local=True, dim=dim)


def _heads(folder: Path, data: dict[str, str]) -> dict[str, Path]:
    if len(data) > _MOST_HEADS or len(set(data.values())) < len(data):
        raise WeightsError(f"names {len(data)} heads, more than it can hold", path=folder / MANIFEST)
    return {target: _inside(folder, data[target]) for target in plain_targets(data, WeightsError)}


def _inside(folder: Path, name: str) -> Path:
    relative = PurePosixPath(name[:_LONGEST_PATH])  # of a million parts a path takes hours to look at
    odd = len(name) > _LONGEST_PATH or relative.is_absolute() or ".." in relative.parts
    if odd or not Path(os.path.realpath(folder / relative)).is_relative_to(os.path.realpath(folder)):
        raise WeightsError(f"names {name!r:.200}, which lies outside the bundle", path=folder / MANIFEST)
    return folder / relative


def _measured(consistency: Any) -> dict[str, Any] | None:
    """What was measured of the consistency, once its AUCs of single clips against swapped music were found to be there.

    Those measured on simulated routines come before those of each head.
    """
    if not consistency:
        return None
    if "exam" in consistency:
        found = [consistency["exam"]["auc"]["swapped"]]
    else:
        found = [of_head["swapped_clip"] for of_head in consistency["auc"].values()]
    if not all(isinstance(auc, int | float) and 0 <= auc <= 1 for auc in found):
        raise TypeError(f"consistency must hold measured AUCs, holds {found!r:.60}")
    return dict(consistency)


def is_frame_rate(value: Any) -> bool:
    """Whether clips can be cut at so many frames a second."""
    return type(value) in (int, float) and 1 <= value <= _FASTEST


def _frame_rate(value: Any) -> float | None:
    if value is not None and not is_frame_rate(value):
        raise TypeError(f"frame_rate must be frames a second, is {value!r:.60}")
    return None if value is None else float(value)


def _words(data: dict[str, Any], key: str) -> str:
    """What stands with every score, so in each row of an index and of a history."""
    words = _typed(data, key, str)
    if len(words) > MOST_WORDS:
        raise TypeError(f"{key} has {len(words):,} letters, more than {MOST_WORDS}")
    return words


def _typed(data: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(data[key], kind):
        raise TypeError(f"{key} must be {kind.__name__}, is {data[key]!r:.60}")
    return data[key]
