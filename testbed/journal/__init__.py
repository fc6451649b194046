"""What enters and leaves one GSP's pure core, recorded, and done again: the core decides the same, byte for byte."""
