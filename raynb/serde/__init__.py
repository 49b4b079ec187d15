"""Pickling: values with out-of-band buffers and the refs they contain, definitions, errors."""
