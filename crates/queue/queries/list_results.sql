SELECT r.id, s.id, r.message, r.seq, r.accepted_at, r.created_at, r.kind, r.title, r.body, r.files,
       r.tags
FROM results AS r
JOIN sessions AS s ON s.num = r.session
WHERE 1
