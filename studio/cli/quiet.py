"""Keeps the chatter of the libraries off the terminal; ours stays."""

from __future__ import annotations

import os
import sys
import warnings

_SETTINGS = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def quiet_libraries() -> None:
    """Silences progress bars, warnings and notices of other people's code.

    Call it before torch, diffusers or transformers are imported: they read these settings once.
    What the user has set stays as it is.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if sys.warnoptions:  # python -W or PYTHONWARNINGS: someone wants to see them
        return
    warnings.simplefilter("ignore")
    # Libraries blame their own deprecations (FutureWarning and the like) on the caller, on us.
    warnings.filterwarnings("default", category=UserWarning, module=r"studio(\.|$)")
    warnings.showwarning = _show


def _show(message: Warning | str, *_: object, **__: object) -> None:
    print(f"studio: warning: {message}", file=sys.stderr)
