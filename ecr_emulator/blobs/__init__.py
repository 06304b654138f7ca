"""Where the bytes of layers and configs are: content-addressed, once for all repositories."""
