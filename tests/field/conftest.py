"""The scenarios' clients are the bench's."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
