"""What comes from and goes to the microscope: scans, orientation maps, indexing, phantoms."""
