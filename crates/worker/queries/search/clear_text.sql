DELETE FROM search_text
