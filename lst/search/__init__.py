"""`python -m lst.search`: where a task asks for adapters, found and written."""

from lst.search.run import Found, run

__all__ = ['Found', 'run']
