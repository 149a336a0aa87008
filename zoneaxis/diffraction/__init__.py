"""What crystal, beam and camera do: structure factors, disks, patterns."""
