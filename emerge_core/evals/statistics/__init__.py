"""Intervals, resampling, and statistical power."""
