"""Labels cleaned up and written with their organ names."""
