"""A fixed number of clips a routine, as the official recipe trains and tests (docs/method.md, section 9)."""

import torch


def fit_window(features: torch.Tensor, clips: int | None, start: int | None = None, pads: bool = True) -> torch.Tensor:
    """(T, ...) -> (clips, ...): a window of longer routines, zeros behind shorter ones; all when `clips` is None.

    Args:
        features: of one routine.
        clips: the fixed T.
        start: where the window begins; None: in the middle, as in testing.
        pads: whether zeros stand behind shorter routines; if not they stay shorter.
    """
    if clips is None or len(features) == clips:
        return features
    spare = len(features) - clips
    if spare > 0:
        start = spare // 2 if start is None else start
        return features[start : start + clips]
    if not pads:
        return features
    return torch.cat([features, features.new_zeros(-spare, *features.shape[1:])])
