"""Run one benchmark, or all: ``make bench ROW=read``. Each is a script whose last line is JSON."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROWS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("run", "measure", "bare_head"))


def main() -> int:
    row = sys.argv[1] if len(sys.argv) > 1 else "all"
    rows = ROWS if row == "all" else [row.replace("-", "_")]
    if not set(rows) <= set(ROWS):
        print(f"unknown row {row!r}: known are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    codes = [subprocess.run([sys.executable, HERE / f"{name}.py"]).returncode for name in rows]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
