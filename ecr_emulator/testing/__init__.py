"""For other people's tests: an emulator in a background thread, and pytest fixtures around it."""

from ecr_emulator.testing.background import BackgroundServer

__all__ = ["BackgroundServer"]
