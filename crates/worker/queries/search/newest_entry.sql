SELECT id, session FROM search_entries ORDER BY id DESC LIMIT 1
