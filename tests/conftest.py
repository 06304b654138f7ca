"""What holds for all tests."""

from hypothesis import settings

# The same examples in each run, and no limit on the time of one: a busy machine fails no test.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")
