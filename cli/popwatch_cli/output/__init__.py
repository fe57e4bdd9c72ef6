"""What commands print: tables, plots, reports, the plugin's line."""
