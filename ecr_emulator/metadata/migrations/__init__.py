"""The schema's history: numbered SQL scripts, applied in order, each in one transaction."""
