"""The plots of the report: plain numbers in, SVG out."""
