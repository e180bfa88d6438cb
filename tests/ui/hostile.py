"""Column names and levels that are markup, formulas and quotes: a page that trusts them would run them."""

from __future__ import annotations

MARKUP = "<img src=x onerror=alert(1)>"
COLUMNS = (MARKUP, "=SUM(A1)", 'a "quoted", long; name')
LEVELS = ("<b>bold</b>", "=1+1", "@home", 'say "hi"', "two\nlines", "-plain", "'=quoted")
