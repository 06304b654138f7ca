"""The sinks that events go to: ``base.py`` is the port, and each kind has a module."""
