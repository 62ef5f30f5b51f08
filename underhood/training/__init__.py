"""Batches, losses, metrics, schedules and the one loop. Nothing in this room touches the disk or prints."""
