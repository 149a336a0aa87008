"""Crystal orientation maps from 4D-STEM patterns, by networks trained on dynamical simulations."""

__version__ = "0.1.0"
