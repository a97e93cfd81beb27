"""Sweeps: many side networks trained in one pass over the same features."""

from lst.sweep.loop import run
from lst.sweep.points import asked

__all__ = ['asked', 'run']
