"""The way in: files, transcripts and other products become drawers."""
