"""What everything else uses: errors, messages, templates, files, text. Imports nothing of charter."""
