"""``python -m ecr_emulator``."""

from ecr_emulator.cli import main

if __name__ == "__main__":
    main()
