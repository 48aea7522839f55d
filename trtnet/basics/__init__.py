"""What everything stands on: errors, source lines, sizes, element types, arrays, files."""
