"""The service the known applications ask: the examples' upstream, in exactly so many seconds.

python -m bench.measurement.upstream ADDRESS_FILE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from examples import upstream

DELAY_S = 0.003

if __name__ == "__main__":
    upstream.DELAY_S = (DELAY_S, DELAY_S)
    asyncio.run(upstream.serve(Path(sys.argv[1])))
