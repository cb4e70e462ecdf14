INSERT INTO results (id, session, message, seq, epoch, accepted_at, created_at,
                     kind, title, body, files, tags)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
