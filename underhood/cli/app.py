"""All commands, registered."""

from underhood.cli import training, using
from underhood.cli.root import app

__all__ = ["app", "training", "using"]
