INSERT INTO search_text (rowid, title, body, files, tags)
SELECT value ->> 'id', value ->> 'title', value ->> 'body', value ->> 'files', value ->> 'tags'
FROM json_each(?1)
