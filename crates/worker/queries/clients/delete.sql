-- One JSON array of ids.
DELETE FROM clients WHERE id IN (SELECT value FROM json_each(?1))
