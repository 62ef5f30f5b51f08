"""The ideas of the books written out, plain before fast."""
