"""What lives on disk: directories and free space."""
