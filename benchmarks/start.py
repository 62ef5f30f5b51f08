"""``underhood --help`` against ``python -c "import torch"``. Goal: at most a fifth of its time."""

import subprocess
import sys
from pathlib import Path

from measure import in_turn

UNDERHOOD = Path(sys.executable).with_name("underhood")


def main() -> int:
    return in_turn(
        lambda: subprocess.run([UNDERHOOD, "--help"], stdout=subprocess.DEVNULL, check=True),
        lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True),
        goal=0.2,
    )


if __name__ == "__main__":
    sys.exit(main())
