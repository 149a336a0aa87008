"""The report: one HTML page with linked maps, patterns and figures."""
