"""What services print: collected exactly once, stored, read again, summed up."""
