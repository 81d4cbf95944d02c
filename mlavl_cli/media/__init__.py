"""Raw video -> clips with their sound."""
