"""Pages: from tables to HTML, with their sentences, figures and templates. Nothing here measures or decides."""
