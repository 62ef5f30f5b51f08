"""From files to pixels. Nothing in this room imports torch."""
