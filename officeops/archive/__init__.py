"""Rows that nobody uses leave the database as Parquet files, proven before they go, and stay queryable."""
