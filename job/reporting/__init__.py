"""How results are shown: tables, figures and pages of a static site. Nothing here learns or scores."""
