"""``python -m napari_ptsam`` is the command ``napari-ptsam``."""

from __future__ import annotations

import sys

from napari_ptsam.cli import main

sys.exit(main())
