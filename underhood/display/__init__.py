"""Text, tables, figures and progress bars for people."""
