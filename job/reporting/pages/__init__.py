"""The pages of the report, one module each: inputs in, what the template shows out."""
