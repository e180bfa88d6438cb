"""How reports look, whatever they are about: pages from templates, one style sheet, and the style of plots."""
