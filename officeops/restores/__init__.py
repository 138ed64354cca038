"""The chapter on restores: beside the live database, proven, then swapped; and drills."""
