"""Features and labels -> heads, and how good they are."""
