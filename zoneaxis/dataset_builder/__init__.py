"""Recipe -> labelled diffraction patterns as a Parquet data set."""
