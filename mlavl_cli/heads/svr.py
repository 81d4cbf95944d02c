"""Support vector regression on the mean clip: C3D+SVR (Parmar & Morris, CVPRW 2017) with other features than C3D's."""

import numpy as np
import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import mean_clip
from mlavl_cli.heads.visual import VisualHead

_GRID = {"C": [0.001, 0.01, 0.1, 1.0, 10.0], "epsilon": [0.01, 0.05, 0.1]}  # of labels in [0, 1]
_FOLDS = 5


class MeanSVR(VisualHead):
    """One linear map of the mean clip. Its fit standardises the features and is kept as weights of that map alone."""

    name = "svr"
    fits = True
    prompt_kind = "none"  # MAG2 would never learn

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.line = nn.Linear(self.inputs, 1)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> HeadOutput:
        return HeadOutput(score=self.line(mean_clip(clips, mask)).squeeze(-1))

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """C and epsilon by cross-validation within the training split."""
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVR

        rows = mean_clip(self.clips(batch.visual, batch.mask), batch.mask).double().cpu().numpy()
        mean, spread = rows.mean(0), np.maximum(rows.std(0), 1e-8)
        scaled, labels = (rows - mean) / spread, batch.label.double().cpu().numpy()
        found = SVR(kernel="linear", C=0.01, epsilon=0.05)
        if len(rows) >= 2 * _FOLDS:
            search = GridSearchCV(found, _GRID, cv=_FOLDS, scoring="neg_mean_squared_error")
            found = search.fit(scaled, labels).best_estimator_
        else:
            found.fit(scaled, labels)
        weight = found.coef_[0] / spread
        self.line.weight.copy_(torch.from_numpy(weight)[None])
        self.line.bias.fill_(float(found.intercept_[0] - weight @ mean))
