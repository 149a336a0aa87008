"""Template matching in parts: polar patterns, the bank, candidates, refinement."""
