"""What a training leaves behind, and what can be read from it."""
