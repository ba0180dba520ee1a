"""The files between the stages, as code without torch and without science: paths, columns, one reader and one check."""
