"""VTAB-1k and its offline kin: prepare, run and report a suite of tasks."""

from lst.vtab.suites import SUITES, select
from lst.vtab.task import GROUPS, Splits, Task

__all__ = ['GROUPS', 'SUITES', 'Splits', 'Task', 'select']
