"""Data on disk: data sets in the 1X v2.0 format, windows of them, action statistics, videos, tables and files."""
