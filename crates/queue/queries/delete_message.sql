-- Payloads and attempts go with it, results stay.
DELETE FROM messages WHERE id = ?
