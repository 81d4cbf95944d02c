"""The video of a page with its buttons, and the list of its keys (player.js)."""

from mlavl_cli.output.report.html import text

# What a button does, its label for the eye, its name.
_BUTTONS = (
    ("clip-back", "|◂", "Clip before"),
    ("frame-back", "◂", "Frame before"),
    ("play", "Play", "Play or pause"),
    ("frame-on", "▸", "Next frame"),
    ("clip-on", "▸|", "Next clip"),
    ("slow", "half speed", "Half speed"),
    ("loop", "loop", "Loop this clip"),
    ("zoom-out", "-", "Zoom out"),
    ("zoom-in", "+", "Zoom in"),
    ("whole", "whole", "Whole routine"),
)
_KEYS = (
    ("space, K", "play or pause"),
    ("left, right", "clip before, next clip"),
    ("comma, full stop", "frame before, next frame"),
    ("L", "loop this clip, or stop looping"),
    ("H", "half speed or full"),
    ("plus, minus, 0", "zoom in, zoom out, whole routine"),
)
_KEYS_OF_ONE = (
    ("Page Up, Page Down", "ten clips, with the timeline in focus"),
    ("Home, End", "first clip, last clip, with the timeline in focus"),
    ("W, S", "next weakest, next strongest moment"),
    ("N", "write a note on this moment"),
)


def keys(two: bool = False) -> str:
    """The keys of a page: of one video, or of two."""
    listed = "".join(f"<dt>{key}</dt><dd>{does}</dd>" for key, does in (*_KEYS, *(() if two else _KEYS_OF_ONE)))
    return f"<details><summary>Keys</summary><dl>{listed}</dl></details>"


def player(name: str, url: str, poster: str) -> str:
    """A video that stays in sight, its buttons, and what asks for its file where it has been moved."""
    return f"""
<div class="stage">
{video(name, url, poster)}
{toolbar()}
</div>"""


def video(name: str, url: str, poster: str) -> str:
    """The video itself, a picture before it plays, and what asks for its file where it isn't found."""
    shown = f' poster="{poster}"' if poster else ""
    return f"""<div class="seat"><video controls preload="metadata" playsinline src="{text(url)}"{shown}
aria-label="{text(name)}"></video>
<div class="missing notes" hidden><p>This browser can't play the video, or it isn't where it was. Scores and timeline
are complete all the same.</p>
<p><label class="button">Choose the file<input type="file" accept="video/*" class="visually-hidden"></label>
or drop it on this page.</p></div><p class="other notes" role="status" hidden></p></div>"""


def toolbar() -> str:
    """The buttons of a player, and what is said of the clip it is at."""
    buttons = "".join(
        f'<button type="button" data-do="{does}" aria-label="{name}" title="{name}">{text(label)}</button>'
        for does, label, name in _BUTTONS
    )
    return f"""<div class="tools" role="toolbar" aria-label="Player">{buttons}</div>
<p class="said" aria-hidden="true"></p>"""
