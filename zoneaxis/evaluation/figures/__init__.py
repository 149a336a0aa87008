"""Figures one would put in a paper, each drawn into axes or a figure that the caller owns."""
