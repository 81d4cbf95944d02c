"""Plots by matplotlib, which is an extra: what is asked for is checked before the work, not after."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlavl_cli.errors import UsageError, one_line
from mlavl_cli.surroundings import away_from_the_current_folder

if TYPE_CHECKING:
    from mlavl_cli.scoring.result import RoutineScore

FORMS = ("png", "svg", "pdf")
_GROUPS = 5  # of routines alike in their predicted score, for the reliability


class Sheet:
    """A file to be drawn.

    Raises:
        UsageError: another kind of file, or no matplotlib.
    """

    def __init__(self, path: Path):
        self.path, self.form = path, path.suffix.lower().lstrip(".") or "png"
        if self.form not in FORMS:
            raise UsageError(f"can't draw .{self.form}", path=path, hint="Use .png, .svg or .pdf.")
        try:
            with away_from_the_current_folder():  # whose matplotlibrc it would obey
                from matplotlib import rcdefaults
                from matplotlib.figure import Figure
            rcdefaults()  # as HOME's has it, which may be another user's
        except ImportError as error:
            raise UsageError("matplotlib isn't installed", hint="Run: pip install 'mlavl[train]'.") from error
        self._figure = Figure

    def timeline(self, result: "RoutineScore") -> None:
        """Every measure of the clips over time.

        Raises:
            UsageError: the weights say nothing of single clips.
        """
        clips, lanes = result.clips, result.measured
        if not lanes:
            raise UsageError("these weights have no timeline to draw", path=self.path)
        sheet = self._figure(figsize=(10, 1.6 * len(lanes) + 0.9), layout="constrained")
        points = "   ".join(f"{target} {score.score:.2f}" for target, score in result.scores.items())
        sheet.suptitle(_plain(f"{Path(result.video.path).name}\n{points}"), fontsize=10)
        starts, widths = [clip.start_s for clip in clips], [clip.end_s - clip.start_s for clip in clips]
        rows = sheet.subplots(len(lanes), 1, sharex=True, squeeze=False)[:, 0]
        for axes, one in zip(rows, lanes, strict=True):
            values = [clip.value(one) for clip in clips]
            axes.bar(starts, values, widths, align="edge", color="tab:blue", edgecolor="white", linewidth=0.5)
            axes.set(ylabel=one.label, xlim=(starts[0], clips[-1].end_s))
            if one.judges:
                axes.set_ylim(0, 1)
        notes = [str(result.weights), *map(str, result.warnings)]
        axes.set_xlabel(_plain("\n".join(["seconds", *notes])), fontsize=7)
        self._save(sheet)

    def judgement(self, title: str, pairs: dict[str, tuple[Any, Any]]) -> None:
        """Above, predicted against true points of each target; below, the mean truth of routines predicted alike.

        Where heads are reliable, both lie on the diagonal; below it, they promise too much.
        """
        import numpy as np

        sheet = self._figure(figsize=(4 * len(pairs), 8), layout="constrained")
        sheet.suptitle(_plain(title))
        columns = sheet.subplots(2, len(pairs), squeeze=False).T
        for (above, below), (name, (true, predicted)) in zip(columns, pairs.items(), strict=True):
            low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
            for axes in (above, below):
                axes.plot([low, high], [low, high], color="grey", linewidth=1)
            above.scatter(true, predicted, s=12)
            above.set(title=_plain(name), xlabel="true, points", ylabel="predicted, points")
            groups = np.array_split(np.argsort(predicted, kind="stable"), min(_GROUPS, len(true)))
            said, was, spread = (
                [measure(values[group]) for group in groups]
                for measure, values in ((np.mean, predicted), (np.mean, true), (np.std, true))
            )
            below.errorbar(said, was, yerr=spread, fmt="o", capsize=3)
            below.set(xlabel="predicted, points", ylabel="true: mean, spread")
        self._save(sheet)

    def curves(self, histories: dict[str, list[Any]]) -> None:
        """Loss, SRCC, MSE and, where it was learned, the consistency's AUC over the epochs, a line a run."""
        learned = any(epoch.auc is not None for history in histories.values() for epoch in history)
        names = ["loss", "srcc", "mse", *(["auc"] if learned else [])]
        sheet = self._figure(figsize=(4 * len(names), 3.6), layout="constrained")
        for axes, name in zip(sheet.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for label, history in histories.items():
                told = [(epoch.epoch, getattr(epoch, name)) for epoch in history]
                told = [(number, value) for number, value in told if value is not None]
                axes.plot(*zip(*told, strict=True), marker="." if len(told) < 30 else "", label=_plain(label))
            axes.set(title=name.upper() if name != "loss" else name, xlabel="epoch")
            if name in ("loss", "mse"):
                axes.set_yscale("log")
        axes.legend(fontsize=7)
        self._save(sheet)

    def _save(self, sheet: Any) -> None:
        from mlavl_cli.files import atomic_write

        with atomic_write(self.path, named=True) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks becomes a box
            sheet.savefig(file, format=self.form, dpi=150)


def _plain(text: str) -> str:
    """Not to be read as mathematics, nor to hold what no font can show."""
    shown = "\n".join(map(one_line, text.split("\n")))
    return shown.encode("utf-8", "replace").decode().replace("$", r"\$")
