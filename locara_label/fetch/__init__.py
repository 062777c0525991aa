"""A task's reference (address or path) to bytes, safely: `Fetcher(Rules(...)).read(reference)`.

The only home of the HTTP library for task data. Nothing is granted unless `Rules` grants it.
"""

from locara_label.fetch.budget import Stoppable
from locara_label.fetch.fetcher import Fetcher
from locara_label.fetch.rules import Rules

__all__ = ["Fetcher", "Rules", "Stoppable"]
