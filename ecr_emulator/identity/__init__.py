"""Who is calling, on which registry, and with what right."""
