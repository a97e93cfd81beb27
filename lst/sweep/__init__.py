"""Sweeps: many side networks trained in one pass over the same features."""

from lst.sweep.points import asked
from lst.sweep.loop import run

__all__ = ['asked', 'run']
