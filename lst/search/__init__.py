"""`python -m lst.search`: where a task asks for adapters, found and written."""

from lst.search.files import picture
from lst.search.run import Found, run, search

__all__ = ['Found', 'picture', 'run', 'search']
