"""From definition to argument vector: templates, options, filters, profiles. Pure."""
