"""``python -m underhood`` is the command ``underhood``."""

from underhood.cli import main

if __name__ == "__main__":
    main()
