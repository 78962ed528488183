"""No deadlines: how long one example takes says something about the machine, not about the law it checks."""

from hypothesis import settings

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
