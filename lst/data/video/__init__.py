"""Clips of videos: what is read of each, and rendered ones to start with."""
