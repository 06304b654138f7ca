"""What scripts/bench.py measures the emulator and its peers with."""
