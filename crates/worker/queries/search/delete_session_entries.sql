DELETE FROM search_entries WHERE session = ?1
