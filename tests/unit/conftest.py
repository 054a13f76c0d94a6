"""Settings of all unit tests."""

from hypothesis import settings

# How long one example takes is the machine's business: another process may hold it up at any moment.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")
