"""A bundle of one's own -> a repository on the hub, with a model card made of what the bundle knows of itself."""

import html
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from mlavl_cli.backbone import ELSEWHERE
from mlavl_cli.bundle import MANIFEST, Bundle, verify_bundle
from mlavl_cli.errors import UsageError, WeightsError, one_line, refusing
from mlavl_cli.files import refuse_irregular
from mlavl_cli.hub_bundle import check_listed, is_hub_name, little_memory

_CARD = "README.md"


def push_bundle(bundle: Bundle, name: str, private: bool = False) -> str:
    """Uploads a bundle's files and its model card; returns the commit's address.

    Args:
        bundle: whole, as it was written.
        name: `user/name`; a repository that isn't there is made.
        private: whether a new one is.

    Raises:
        UsageError: that is no name of a hub's.
        WeightsError: the bundle isn't whole, or the hub refuses it.
    """
    from huggingface_hub import HfApi

    if not is_hub_name(name) or "@" in name:
        raise UsageError(f"{name!r:.100} is no name of a repository", hint="Give user/name.")
    with refusing(WeightsError, "lists files that nobody could fetch", bundle.folder / MANIFEST):
        check_listed(bundle.files)
    with refusing(WeightsError, "holds metrics that are none", bundle.folder / MANIFEST, "Try: mlavl evaluate --save."):
        card = model_card(bundle, name)
    if problems := verify_bundle(bundle):
        raise WeightsError(problems[0], path=bundle.folder, hint="Try: mlavl weights verify.")
    files = sorted({MANIFEST, *bundle.files})
    for path in files:
        refuse_irregular(bundle.folder / path)
    try:
        api = HfApi()
        with little_memory():  # of the upload nobody knows how much it takes
            api.create_repo(name, private=private, exist_ok=True)
        with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as place:
            whole = Path(place)
            for path in files:
                (whole / path).parent.mkdir(parents=True, exist_ok=True)
                (whole / path).symlink_to((bundle.folder / path).absolute())
            (whole / _CARD).write_text(card, "utf-8")
            commit = api.upload_folder(repo_id=name, folder_path=whole, commit_message=f"{bundle.name}, by mlavl")
        return str(commit.commit_url)
    except WeightsError as error:
        raise WeightsError(error.message, path=name, hint=error.hint) from error
    except Exception as error:  # the library's own, and whatever its client for HTTP raises
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise WeightsError(f"the hub refuses it: {cause}", path=name, hint="Log in with `hf auth login`.") from error


def model_card(bundle: Bundle, name: str) -> str:
    """Markdown: what the weights are, what they were trained on, how good they are and how they are used."""
    return "\n".join(_lines(bundle, name)) + "\n"


def _lines(bundle: Bundle, name: str) -> Iterator[str]:
    yield from ("---", "library_name: mlavl", "license: other", f"license_name: {_yaml(bundle.licence)}", "tags:")
    yield from (f"- {tag}" for tag in ("mlavl", "action-quality-assessment", "video", "audio"))
    yield from ("---", "", f"# {_plain(bundle.name)}", "")
    targets = ", ".join(bundle.heads) or "no heads: features only"
    yield f"Weights of [mlavl](https://pypi.org/project/mlavl/) for {_plain(bundle.sport)}: {_plain(targets)}."
    yield from ("", f"Trained on: {_plain(bundle.trained_on)}", "", f"Licence: {_plain(bundle.licence)}", "")
    if ELSEWHERE in (bundle.visual.source, bundle.audio.source):
        yield from ("Trained on features of another tool: it scores such features and no videos.", "")
    else:
        yield from ("```sh", f"mlavl score routine.mp4 --weights {name}", "```", "")
    if bundle.metrics:
        yield from (
            "| target | measured on | n | SRCC | MSE | 90 % interval from |",
            "| --- | --- | --- | --- | --- | --- |",
        )
        for target, found in bundle.metrics.items():
            where = _plain(" ".join(str(found[key]) for key in ("dataset", "split") if key in found))
            interval = bundle.intervals.get(target)
            known = f"{int(interval['routines'])} routines" if interval else "none"
            numbers = (_number(found.get(key)) for key in ("n", "srcc", "mse"))
            yield f"| {_plain(target)} | {where} | {' | '.join(numbers)} | {known} |"
        yield ""
    rate = f"{bundle.frame_rate:g} frames a second" if bundle.frame_rate else "each video's own frame rate"
    yield f"Clips: {bundle.clip_frames} frames at {rate}."
    if bundle.domain:
        yield "Videos of another kind than the training set's are told apart; their scores have no meaning."
    else:
        yield "These weights don't know which videos are of another kind than the training set's."
    measured = bundle.consistency
    yield f"Action-music consistency: {'measured, see bundle.json' if measured else 'not validated for these weights'}."


def _number(value: object) -> str:
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"no number: {value!r:.40}")
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def _plain(text: str) -> str:
    """Text in which Markdown and HTML see no signs of theirs."""
    return _SIGNS.sub(r"\\\1", html.escape(one_line(text), quote=False))


_SIGNS = re.compile(r"([\\`*_{}\[\]#|])")


def _yaml(text: str) -> str:
    return '"' + re.sub(r"[\\<>]", "", one_line(text)).replace('"', "'") + '"'
