DELETE FROM search_text
WHERE rowid IN (SELECT id FROM search_entries WHERE session = ?1)
