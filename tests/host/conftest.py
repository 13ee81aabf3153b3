"""Makes this folder's helper modules (fake_board, lossy, models) importable for tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
