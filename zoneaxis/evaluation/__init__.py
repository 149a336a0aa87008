"""Is a map right, and where not: template matching, comparison, report."""
