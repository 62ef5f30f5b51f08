"""The commands as Python functions, one file per command: each puts the parts together and returns a dictionary.

Nothing here prints: progress goes to a ``Reporter``, and the command line's is ``display.terminal.Terminal``.
"""
