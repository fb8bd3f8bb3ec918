"""What the judging models share: their features, their settings, and one thread each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from aigc_pipeline.evaluation.tables import MISSING, Coded, Coder

MAX_CATEGORIES = 255  # what HistGradientBoosting takes

SETTINGS: dict[str, Any] = {"learning_rate": 0.1, "early_stopping": False}


def features(tables: Sequence[Coded], coder: Coder) -> tuple[np.ndarray, np.ndarray]:
    """Tables below each other as model input, and which columns are categories.

    Missing is NaN. Values are coded by falling frequency; of more than 255 the rarest are one.

    Returns:
        float64 [rows, numeric columns then categories], and a mask over its columns.
    """
    numbers = np.concatenate([t.numbers for t in tables])
    codes = np.concatenate([t.codes for t in tables])
    categories = np.where(codes == MISSING, np.nan, np.minimum(codes - 1, MAX_CATEGORIES - 1))
    is_category = np.repeat([False, True], [numbers.shape[1], codes.shape[1]])
    return np.hstack([numbers, categories]), is_category


def fit(model: Any, inputs: np.ndarray, targets: np.ndarray) -> Any:
    """The model, fitted; scikit-learn has no bins for a column without any value."""
    empty = np.isnan(inputs).all(0)
    return model.fit(np.where(empty, 0.0, inputs), targets)


def single_thread() -> AbstractContextManager[Any]:
    """A block in which OpenMP uses one thread.

    On two cores a second thread saves a quarter of the time when the machine is idle, and makes the
    models ten times slower when it is not.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="openmp")
