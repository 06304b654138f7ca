"""Scanners: what finds vulnerabilities in an image. ``base.py`` is the port.

``layers.py`` is the one that needs nothing else: it reads the packages in an image's layers and looks
them up in a database in the OSV format. ``command.py`` runs a scanner that the user has, ``notes.py``
gives what the user wrote down. ``selection.py`` chooses by the settings.
"""
