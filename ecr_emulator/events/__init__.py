"""What happened: the events and audit records that AWS would have, and the sinks that events go to.

``builders.py`` and ``audit.py`` are pure: facts in, JSON objects out.
"""
