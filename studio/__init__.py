"""latent-studio: text to image on weights in the box or your own.

Names are imported on first use (PEP 562), so that ``import studio`` and ``studio --help`` stay
fast and load no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.facade import Studio as Studio
    from studio.picture import Picture as Picture
    from studio.pipelines.request import Request as Request

__version__ = "0.1.0"

_HOME = {
    "Studio": "studio.facade",
    "Picture": "studio.picture",
    "Request": "studio.pipelines.request",
}
__all__ = ["Picture", "Request", "Studio", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'studio' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
